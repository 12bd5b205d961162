"""The key of an instance, if its settings have none."""

from sqlalchemy import Connection, select

from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.transactions import StorePart, writes
from crawlyard.store.tables.access import instance_keys


class KeyStore(StorePart):
    """The key that seals what the store keeps secret."""

    @writes
    def kept(self, conn: Connection, new: str) -> str:
        """Return the key of the instance: the one that is kept, or *new*, which is from now on."""
        insert_new(conn, instance_keys, [{"id": 1, "key": new}])
        key: str = conn.scalars(select(instance_keys.c.key)).one()
        return key
