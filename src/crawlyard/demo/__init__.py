"""A small site of our own, served on loopback."""
