"""Shapes of jobs and pages."""
