"""What crawls leave: frontier, pages, checkpoints, logs."""
