"""Answers about workers, hosts, operations, streams and the server."""
