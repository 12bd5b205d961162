"""Who tells a worker that work is due."""
