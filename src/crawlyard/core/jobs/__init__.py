"""Jobs: their spec, life, limits, queue and progress."""
