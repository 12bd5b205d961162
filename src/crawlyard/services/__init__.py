"""What the yard does, in verbs."""
