"""Users, credentials, views, operations, settings and stored replies."""
