"""Administration of whole databases: copies, backups, checks.

Everything here treats all tables of `store.tables` alike, regardless of their content. It is
synchronous, as the commands that run it do nothing else at the same time.
"""
