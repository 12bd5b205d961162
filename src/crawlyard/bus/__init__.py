"""Bus: lossy fan-out of live progress."""
