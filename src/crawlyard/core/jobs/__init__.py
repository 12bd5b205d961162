"""Jobs: spec, lifecycle, limits, queue and progress."""
