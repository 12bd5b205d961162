"""Users, credentials and settings, and the policy that they define."""
