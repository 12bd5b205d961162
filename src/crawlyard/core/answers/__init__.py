"""Answers about jobs. All other answers stand beside their records."""
