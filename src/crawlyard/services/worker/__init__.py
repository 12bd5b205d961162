"""Workers: claims, runs, leases, upkeep."""
