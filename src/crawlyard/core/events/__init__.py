"""Events: one row per change, and the data of each."""
