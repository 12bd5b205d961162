"""Hosts: rules, slots, robots.txt files."""
