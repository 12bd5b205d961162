"""Shapes of workers, hosts, operations and figures."""
