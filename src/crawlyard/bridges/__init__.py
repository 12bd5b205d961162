"""Bridges: protocols of other programs, served with what the Python API offers."""
