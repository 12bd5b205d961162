"""What carries the surface to where it is used: the far side of a connection."""
