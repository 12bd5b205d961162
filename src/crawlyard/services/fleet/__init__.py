"""The whole yard: workers, hosts, events, figures."""
