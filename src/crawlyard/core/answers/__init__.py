"""Answers: what the API sends and the command line prints as JSON, where no record is the answer.

Instants are RFC 3339 in UTC, durations are seconds (``*_s``), sizes are bytes. Names only ever get
added.
"""
