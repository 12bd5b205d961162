"""Outcome of a Postgres transaction whose COMMIT got no answer.

The id of a transaction is not enough. Postgres assigns ids in memory: a crash loses those whose
first log record had not reached the disk, and assigns them again. `pg_xact_status` then describes
another transaction. So a transaction also notes the positions of the log and its last checkpoint: a
later checkpoint at an earlier position means that a crash cut the log off before that point.

A standby that takes over assigns ids again as well, after the last that it has received. It begins
a new timeline, which each transaction notes, with the identifier of its cluster: on another
timeline or cluster, the outcome is unknown.
"""

from sqlalchemy import ColumnElement, Connection, Text, literal_column, text

# The name of a log file begins with the timeline. pg_control_checkpoint() has it too, but only
# after the first checkpoint on it.
_HISTORY = """
    left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    || (SELECT system_identifier FROM pg_control_system())
"""

# in this order: a checkpoint that ends between two expressions must not look like a crash
_RECEIPT = f"""
    SELECT concat_ws(
      ' ',
      pg_current_xact_id(),
      pg_current_wal_insert_lsn(),
      (SELECT checkpoint_lsn FROM pg_control_checkpoint()),
      {_HISTORY}
    )
"""  # noqa: S608 - all of it is ours

ITS_RECEIPT = text(f"{_RECEIPT} WHERE pg_current_xact_id_if_assigned() IS NOT NULL")
"""Return the receipt of the current transaction; no row if it has written nothing."""

UNKNOWN = "unknown"
STANDBY = "standby"

FATE = text(f"""
    SELECT CASE
      WHEN pg_is_in_recovery() THEN '{STANDBY}'
      WHEN split_part(:receipt, ' ', 4) <> {_HISTORY} THEN '{UNKNOWN}'
      WHEN checkpoint_lsn <> CAST(split_part(:receipt, ' ', 3) AS pg_lsn)
        AND checkpoint_lsn < CAST(split_part(:receipt, ' ', 2) AS pg_lsn)
      THEN 'lost in a crash'
      ELSE pg_xact_status(CAST(split_part(:receipt, ' ', 1) AS xid8))
    END
    FROM pg_control_checkpoint()
""")  # noqa: S608 - all of it is ours
"""Return the outcome of the transaction of a receipt: ``in progress``, ``committed`` or other.

`UNKNOWN` if another server has taken over, `STANDBY` if the answering server may yet do so.
"""


def receipt() -> ColumnElement[str]:
    """Return the expression for the receipt of the current transaction, as `FATE` takes it.

    It must be evaluated after the transaction has written something.
    """
    return literal_column(
        f"({_RECEIPT})", Text
    )  # in parentheses: evaluated once, for any number of rows


_NOTED = "crawlyard_receipt"


def note_receipt(conn: Connection, receipt_: str) -> None:
    """Note the receipt of the transaction, which Postgres returned with its last statement."""
    conn.info[_NOTED] = receipt_


def pop_receipt(conn: Connection) -> str | None:
    """Return the receipt noted since the last call, and forget it; ``None`` if there is none."""
    receipt_: str | None = conn.info.pop(_NOTED, None)
    return receipt_
