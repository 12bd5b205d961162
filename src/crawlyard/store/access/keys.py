"""Key of an instance whose settings have none."""

from sqlalchemy import Connection, select

from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import StorePart, writes
from crawlyard.store.tables.access import instance_keys


class KeyStore(StorePart):
    """The key that seals what the store keeps secret."""

    @writes
    def get_or_create(self, conn: Connection, new: str) -> str:
        """Return the stored key of the instance; store *new* first if there is none."""
        insert_new(conn, instance_keys, [{"id": 1, "key": new}])
        key: str = conn.scalars(select(instance_keys.c.key)).one()
        return key
