"""Whole fleets under random faults, judged by what they left behind."""
