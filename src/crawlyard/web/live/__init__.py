"""Live updates as server-sent events.

Source: the HTML standard, "Server-sent events".
"""
