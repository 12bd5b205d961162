"""Python API: the surface, in this process or over HTTP."""
