"""Events: the log and the live feed."""
