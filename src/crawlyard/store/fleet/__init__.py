"""Workers, events, overview, retention and upkeep."""
