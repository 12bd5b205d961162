"""Instance-wide services: workers, hosts, events and statistics."""
