"""Results of crawls: frontier, pages, checkpoints, logs."""
