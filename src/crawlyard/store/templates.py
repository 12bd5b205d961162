"""Templates with all their versions. Names are unique per owner."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from crawlyard.core.events.event import Event
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.template import CrawlTemplate, TemplateParameter
from crawlyard.errors import Conflict, Invalid, NotFound
from crawlyard.store.codec.base import Row, decoder_of, object_of, to_json
from crawlyard.store.codec.schedules import schedule_of, schedule_row
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, behind, by_name, equal, name_taken
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.queries import Carry, TemplateQuery
from crawlyard.store.tables.schedules import schedules
from crawlyard.store.tables.templates import template_versions, templates

_OF_ITS_TEMPLATE = template_versions.c.template_id == templates.c.id
_BEYOND = 2**31  # one more than the version column can hold
_NAMED = 20  # most schedules that a message names
_PARAMETERS = decoder_of(tuple[TemplateParameter, ...])
_OF_VERSION = ("version", "name", "description", "public", "updated_at", "actor", "trusted")
_LATEST = _OF_ITS_TEMPLATE & (template_versions.c.version == templates.c.version)


class TemplateStore(StorePart):
    """Templates with all their versions. Names are unique per owner."""

    @writes
    def add(self, conn: Connection, template: CrawlTemplate, event: Event) -> None:
        """Add a new template, at version 1.

        Raises:
            Conflict: its id is taken, or its owner has one of that name.
        """
        add_row(conn, templates, _row(template), "a template")
        conn.execute(insert(template_versions).values(_version_row(template)))
        add_events(conn, [event])

    @reads
    def get(self, conn: Connection, template_id: str, version: int | None = None) -> CrawlTemplate:
        """Return a template at *version*, the latest by default.

        Raises:
            NotFound: there is no template with that id, or no such version.
        """
        which = _LATEST
        if version is not None:
            # databases refuse integers that are too large for the column
            stored_version = version if 1 <= version < _BEYOND else 0
            which = _OF_ITS_TEMPLATE & (template_versions.c.version == stored_version)
        row = conn.execute(_read(which).where(templates.c.id == template_id)).mappings().first()
        if row is not None:
            return _template_of(row)
        there = conn.scalar(select(templates.c.id).where(templates.c.id == template_id))
        if there is None:
            raise NotFound(f"no template {template_id}")
        raise NotFound(f"no version {version} of template {template_id}")

    @writes
    def save(
        self, conn: Connection, template: CrawlTemplate, event: Event, carry: Carry | None = None
    ) -> None:
        """Add version ``template.version``, the next after the latest. Earlier ones stay.

        In the same transaction *carry* is called with the schedules of the template's owner
        that follow its latest version, ordered by id. The schedules it returns are saved; it
        must not change their ids, names or templates. Nothing is written if it raises.

        Raises:
            Conflict: the latest version is another, the template is gone, or the name is taken.
        """
        _lock(conn, template.id, template.version - 1)
        carried = carry(_following(conn, template)) if carry else ()
        row = _row(template)
        del row["id"], row["created_at"]
        try:
            conn.execute(update(templates).where(templates.c.id == template.id).values(row))
        except IntegrityError:
            raise name_taken("a template", template.name) from None
        conn.execute(insert(template_versions).values(_version_row(template)))
        for schedule, _ in carried:
            same = update(schedules).where(schedules.c.id == schedule.id)
            conn.execute(same.values(schedule_row(schedule)))
        add_events(conn, [event, *(about for _, about in carried)])

    @reads
    def find(self, conn: Connection, query: TemplateQuery, limit: int) -> list[CrawlTemplate]:
        """Return the latest versions that match *query*, by (name, id), at most *limit*."""
        latest = _read(_LATEST).where(*_conditions(conn, query))
        rows = conn.execute(latest.order_by(*by_name(conn, templates)).limit(limit)).mappings()
        return [_template_of(row) for row in rows]

    @reads
    def versions(self, conn: Connection, template_id: str) -> Sequence[CrawlTemplate]:
        """Return all versions of a template, newest first; empty if there is no template."""
        matching = _read(_OF_ITS_TEMPLATE).where(templates.c.id == template_id)
        rows = conn.execute(matching.order_by(template_versions.c.version.desc())).mappings()
        return [_template_of(row) for row in rows]

    @reads
    def check_unused(self, conn: Connection, template_id: str, seen_by: str | None = None) -> None:
        """Check that no schedule uses a template.

        Raises:
            Conflict: a schedule uses it, as for `delete`.
        """
        _check_unused(conn, template_id, seen_by)

    @writes
    def delete(
        self,
        conn: Connection,
        template_id: str,
        version: int,
        event: Event,
        seen_by: str | None = None,
    ) -> None:
        """Delete a template with all its versions.

        Raises:
            Conflict: the latest version is another, or a schedule uses the template: the
                message names the schedules of *seen_by* (``None``: all of them) and
                counts the others.
        """
        _lock(conn, template_id, version)
        # A schedule being added takes a share lock on the row that is locked here: either it is
        # seen below, or it comes too late and finds no template.
        _check_unused(conn, template_id, seen_by)
        own = template_versions.c.template_id == template_id
        conn.execute(delete(template_versions).where(own))
        conn.execute(delete(templates).where(templates.c.id == template_id))
        add_events(conn, [event])


def _read(which: ColumnElement[bool]) -> Select[Any]:
    return select(*template_versions.c, templates.c.owner, templates.c.created_at).join(
        templates, which
    )


def _following(conn: Connection, template: CrawlTemplate) -> list[CrawlSchedule]:
    """Lock and return the schedules of its owner that follow its latest version."""
    own = (schedules.c.template_id == template.id, schedules.c.owner == template.owner)
    query = select(schedules).where(*own).order_by(schedules.c.id)
    rows = conn.execute(query.with_for_update(key_share=True)).mappings()
    every = [schedule_of(row) for row in rows]
    return [schedule for schedule in every if schedule.template_version is None]


def _conditions(conn: Connection, query: TemplateQuery) -> list[ColumnElement[bool]]:
    filters = equal((templates.c.owner, query.owner), (templates.c.name, query.name))
    if query.seen_by is not None:
        filters.append(or_(templates.c.owner == query.seen_by, templates.c.public))
    if query.public is not None:
        filters.append(templates.c.public.is_(query.public))
    if query.text:
        filters.append(templates.c.search.contains(query.text.casefold(), autoescape=True))
    if query.after is not None:
        filters.append(behind(conn, templates, query.after))
    return filters


def _check_unused(conn: Connection, template_id: str, seen_by: str | None) -> None:
    using = select(schedules.c.owner, schedules.c.name)
    rows = conn.execute(using.where(schedules.c.template_id == template_id))
    users = [(row.owner, row.name) for row in rows]
    if users:
        raise _in_use(template_id, users, seen_by)


def _in_use(template_id: str, users: Sequence[tuple[str, str]], seen_by: str | None) -> Conflict:
    """Return the error for deleting a template that schedules use, given as (owner, name).

    Schedules of users other than *seen_by* are counted, not named; ``None`` sees all.
    """
    names = sorted(name for owner, name in users if seen_by in (None, owner))
    hidden = len(users) - len(names)
    kind = "schedule" if len(users) == 1 else "schedules"
    parts = [f"{kind} {', '.join(names[:_NAMED])}"] if names else []
    if names[_NAMED:]:
        parts.append(f"{len(names) - _NAMED} more")
    if hidden:
        parts.append(f"{hidden} of other users" if names else f"{hidden} {kind} of other users")
    used = f"template {template_id} is used by {' and '.join(parts)}"
    return Conflict(f"{used}; delete those first")


def _lock(conn: Connection, template_id: str, version: int) -> None:
    """Lock the template until the transaction ends.

    Raises:
        Conflict: its latest version is another, or it is gone.
    """
    same = select(templates.c.id).where(
        templates.c.id == template_id, templates.c.version == version
    )
    if conn.scalar(same.with_for_update()) is None:
        raise Conflict(f"template {template_id} is not at version {version} any more")


# --- rows


def _row(template: CrawlTemplate) -> dict[str, Any]:
    """Return all columns of a row of `templates`: its state as of this version."""
    return {
        "id": template.id,
        "owner": template.owner,
        "name": template.name,
        "search": f"{template.name}\n{template.description}".casefold(),
        "public": template.public,
        "version": template.version,
        "created_at": template.created_at,
    }


def _version_row(template: CrawlTemplate) -> dict[str, Any]:

    row = {name: getattr(template, name) for name in _OF_VERSION}
    return row | {
        "template_id": template.id,
        "spec": to_json(template.spec),
        "parameters": to_json(template.parameters),
    }


def _template_of(row: Row) -> CrawlTemplate:
    """Return the template of a row of `template_versions` with its `owner` and `created_at`.

    A row that cannot be read gives a template with an empty spec, so that no job can be made
    from it, whose description says why; it must not fail a whole list.
    """
    try:
        spec, description = _spec_of(row["spec"]), row["description"]
        parameters = _PARAMETERS.decode(row["parameters"])
    except (ValueError, TypeError, Invalid) as error:
        spec, parameters = {}, ()
        description = f"damaged: its row cannot be read ({error}); delete it, or give it a spec"
    return CrawlTemplate(
        **{name: row[name] for name in (*_OF_VERSION, "owner", "created_at")}
        | {"description": description},
        id=row["template_id"],
        spec=spec,
        parameters=parameters,
    )


def _spec_of(text: str) -> dict[str, Any]:
    spec = object_of(text)
    if spec is None:
        raise ValueError("spec: not a JSON object")
    return spec
