"""Routes of workers, hosts, events and figures."""
