"""What is remembered: jobs, leases, frontiers, pages, events, hosts."""
