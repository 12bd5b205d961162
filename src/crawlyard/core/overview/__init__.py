"""Dashboard figures and notices."""
