"""What happens, told to those who listen: server-sent events.

Source: the HTML standard, "Server-sent events".
"""
