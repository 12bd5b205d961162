"""Figures and notices for a dashboard."""
