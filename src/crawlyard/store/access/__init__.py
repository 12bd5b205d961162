"""Users, credentials, views, settings and kept replies as rows."""
