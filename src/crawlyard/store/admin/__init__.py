"""Whole databases: copied to another, kept in a file, looked over.

Everything here works on all tables of `store.tables` alike, and knows nothing of what is
in them. It is run by commands that do nothing else, so that nothing is asynchronous.
"""
