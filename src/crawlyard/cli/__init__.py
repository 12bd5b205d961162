"""Command line: one function per command, which parses, makes one call and prints."""

import gc

# Imported modules are never freed, and a crawl creates few reference cycles: with rarer
# collections, a list of jobs takes 6 % less time (median of 7), and a crawl 9 % less CPU
# (libboost1.88-doc, median of 5 in turns).
LOOKS = (50_000, 20, 50)
"""Garbage collection thresholds of `gc.set_threshold` while a command runs."""

gc.set_threshold(1_000_000)  # while modules load, three full collections take 0.05 s
