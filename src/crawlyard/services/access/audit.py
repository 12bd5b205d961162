"""Audit log: what users did, for admins."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Literal, TypedDict, Unpack

from msgspec import Meta

from crawlyard.core.access.audit import AuditOut
from crawlyard.core.access.user import Permit
from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.endpoint import (
    Cursor,
    Instant,
    Limit,
    Slice,
    Words,
    endpoint,
    every,
    make_slice,
)
from crawlyard.core.webhooks.webhook import EVERYTHING
from crawlyard.errors import Invalid
from crawlyard.export.base import Record, chunks
from crawlyard.export.jsonl import JsonLines, dumps
from crawlyard.export.tables import CsvTable
from crawlyard.services.events.events import match_names
from crawlyard.services.jobs.terms import words_of
from crawlyard.services.noun import Noun
from crawlyard.store.queries import EventQuery

Id = Annotated[str, Meta(max_length=64)]


class AuditTerms(TypedDict, total=False):
    """Filters of the audit log."""

    actor: Annotated[
        Id | None, Meta(description="A user; `me`, or `unknown` for refused credentials.")
    ]
    action: Annotated[Words, Meta(description="Names of events and patterns, such as `user.*`.")]
    subject: Annotated[Id | None, Meta(description="The id of what it was done to.")]
    since: Annotated[Instant | None, Meta(description="At or after.")]
    until: Annotated[Instant | None, Meta(description="Before.")]


class AuditLog(Noun):
    """Lists what users did; for admins."""

    @endpoint("GET /audit", Permit.ADMIN)
    async def list(
        self, *, limit: Limit = 50, cursor: Cursor = None, **terms: Unpack[AuditTerms]
    ) -> Slice[AuditOut]:
        """List what users did, newest first: who, what, on what, from which address and when.

        These are the events of all users, with refused credentials. They are kept for `audit_days`.
        """
        query = self._query(terms, None if cursor is None else int(cursor))
        entries = await self._services.store.events.audit(query, limit + 1)
        return make_slice(entries, limit, AuditOut.of, lambda entry: entry.seq)

    @endpoint("GET /audit/export", Permit.ADMIN, "file")
    async def export(
        self,
        *,
        format_: Annotated[
            Literal["jsonl", "csv"] | None,
            Meta(description="Else as `Accept` says, else `jsonl`."),
        ] = None,
        **terms: Unpack[AuditTerms],
    ) -> AsyncIterator[bytes]:
        """Stream the audit log as JSON Lines or CSV, newest first.

        The filters are those of the list.
        """
        self._query(terms)  # refuses what is wrong before the response begins
        writer = CsvTable(AuditOut.__struct_fields__) if format_ == "csv" else JsonLines()
        return chunks(self._records(terms, as_text=format_ == "csv"), writer)

    async def _records(self, terms: AuditTerms, *, as_text: bool) -> AsyncGenerator[Record]:
        async for entry in every(self.list, **terms):
            record = as_dict(entry)
            yield record | {"data": dumps(record["data"])} if as_text else record

    def _query(self, terms: AuditTerms, before: int | None = None) -> EventQuery:
        self._check_admin("only one reads the audit log")
        actor, since, until = terms.get("actor"), terms.get("since"), terms.get("until")
        try:
            names = match_names(words_of(terms.get("action", EVERYTHING)))
        except Invalid as error:
            raise Invalid("action", error.message) from None
        return EventQuery(
            subject=terms.get("subject"),
            actor=self._actor.id if actor == "me" else actor,
            names=names,
            since=since,
            until=until,
            before=before,
        )
