"""Hosts as rows: bookings, slots, rules, robots.txt files."""
