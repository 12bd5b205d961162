"""Dispatch: wake-ups for workers, and their liveness."""
