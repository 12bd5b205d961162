"""Templates: parameters, rendering, publication."""
