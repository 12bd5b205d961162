"""Politeness: request rates and concurrency per host."""
