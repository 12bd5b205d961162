"""What commands write: tables, formats, progress."""
