"""Output of commands: tables, formats, progress."""
