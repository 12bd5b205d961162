"""Templates: kept, rendered, read from files."""
