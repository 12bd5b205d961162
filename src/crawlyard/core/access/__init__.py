"""Users, credentials, grants, quotas, policy."""
