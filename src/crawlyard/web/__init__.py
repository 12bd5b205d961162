"""HTTP server: API, live updates and dashboard."""
