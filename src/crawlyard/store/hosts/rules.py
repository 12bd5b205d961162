"""Host rules set by operators."""

from sqlalchemy import Connection, delete, select, update

from crawlyard.core.event import Event
from crawlyard.core.hosts.rule import HostRule
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.codec.hosts import rule_of, rule_row
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.name_order import plainly
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import tell
from crawlyard.store.tables.hosts import host_rules


class HostRuleStore(StorePart):
    """Host rules set by operators. Hosts without a rule follow the settings of their jobs."""

    @reads
    def find(self, conn: Connection, after: str, limit: int) -> list[HostRule]:
        """Return at most *limit* rules of hosts that sort after *after*, by host."""
        after = clean(after)
        host = plainly(conn, host_rules.c.host)
        found = select(host_rules).where(host > after).order_by(host).limit(limit)
        return [rule_of(row) for row in conn.execute(found).mappings()]

    @reads
    def get(self, conn: Connection, host: str) -> HostRule:
        """Return the rule of a host.

        Raises:
            NotFound: the host has no rule.
        """
        found = select(host_rules).where(host_rules.c.host == host)
        row = conn.execute(found).mappings().first()
        if row is None:
            raise NotFound(f"no rule for host {host}")
        return rule_of(row)

    @writes
    def put(self, conn: Connection, rule: HostRule, event: Event) -> None:
        """Replace version ``rule.version - 1`` of a rule and add the event; version 1 is new.

        Raises:
            Conflict: the stored version is another.
        """
        before, row = rule.version - 1, rule_row(rule)
        if before == 0:
            saved = insert_new(conn, host_rules, [row])
        else:
            same = (host_rules.c.host == rule.host, host_rules.c.version == before)
            saved = conn.execute(update(host_rules).where(*same).values(row)).rowcount
        if not saved:
            raise _moved_on(rule.host, before)
        tell(conn, [event])

    @writes
    def delete(self, conn: Connection, host: str, version: int, event: Event) -> None:
        """Delete the rule of a host and add the event.

        Raises:
            Conflict: the stored version is another, or the host has no rule.
        """
        same = (host_rules.c.host == host, host_rules.c.version == version)
        if not conn.execute(delete(host_rules).where(*same)).rowcount:
            raise _moved_on(host, version)
        tell(conn, [event])


def _moved_on(host: str, version: int) -> Conflict:
    return Conflict(f"the rule of host {host} is not at version {version} any more")
