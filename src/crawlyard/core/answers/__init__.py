"""The shapes that leave the yard: what the API answers and the command line prints as JSON.

Plain Pydantic, so that the command line needs no web framework. Instants are RFC 3339
in UTC, durations are seconds (``*_s``), sizes are bytes. Names only ever get added.
"""
