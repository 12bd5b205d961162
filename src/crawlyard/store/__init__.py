"""Persistence: jobs, leases, frontiers, pages, events, hosts."""
