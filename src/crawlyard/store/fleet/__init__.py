"""Workers, events, figures and retention as rows."""
