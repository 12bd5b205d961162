"""The command line: one function a command, which parses, makes one call and prints."""
