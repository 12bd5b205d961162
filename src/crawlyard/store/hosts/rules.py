"""Host rules set by operators."""

from sqlalchemy import Connection, delete, select

from crawlyard.core.event import Event
from crawlyard.core.hosts.hosts import HostRule
from crawlyard.errors import Conflict
from crawlyard.store.codec.records import HOST_RULES
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.rows import plainly, put_version
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import tell
from crawlyard.store.tables.hosts import host_rules


class HostRuleStore(StorePart):
    """Host rules set by operators. Hosts without a rule follow the settings of their jobs."""

    @reads
    def find(self, conn: Connection, after: str, limit: int) -> list[HostRule]:
        """Return at most *limit* rules of hosts that sort after *after*, by host."""
        host = plainly(conn, host_rules.c.host)
        found = select(host_rules).where(host > clean(after)).order_by(host).limit(limit)
        return HOST_RULES.all(conn, found)

    @reads
    def get(self, conn: Connection, host: str) -> HostRule:
        """Return the rule of a host.

        Raises:
            NotFound: the host has no rule.
        """
        found = select(host_rules).where(host_rules.c.host == host)
        return HOST_RULES.one(conn, found, f"rule for host {host}")

    @writes
    def put(self, conn: Connection, rule: HostRule, event: Event) -> None:
        """Replace version ``rule.version - 1`` of a rule and add the event; version 1 is new.

        Raises:
            Conflict: the stored version is another.
        """
        row = HOST_RULES.row(rule)
        put_version(conn, host_rules, row, f"the rule of host {rule.host} is")
        tell(conn, [event])

    @writes
    def delete(self, conn: Connection, host: str, version: int, event: Event) -> None:
        """Delete the rule of a host and add the event.

        Raises:
            Conflict: the stored version is another, or the host has no rule.
        """
        same = (host_rules.c.host == host, host_rules.c.version == version)
        if not conn.execute(delete(host_rules).where(*same)).rowcount:
            raise Conflict(f"the rule of host {host} is not at version {version} any more")
        tell(conn, [event])
