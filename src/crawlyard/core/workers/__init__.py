"""Workers: their reports, tags and measurements."""
