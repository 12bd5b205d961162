"""Templates: storage, rendering and template files."""
