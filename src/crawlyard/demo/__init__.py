"""Demo site, served on the loopback address."""
