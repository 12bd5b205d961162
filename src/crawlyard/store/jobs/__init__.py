"""Jobs as rows: queue, claims, leases, shards, counts."""
