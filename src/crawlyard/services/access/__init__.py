"""Users, credentials, settings and what they allow."""
