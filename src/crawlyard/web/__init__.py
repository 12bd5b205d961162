"""HTTP, and the shapes that travel over it."""
