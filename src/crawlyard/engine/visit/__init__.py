"""Visits of targets: the steps from a request to an outcome."""
