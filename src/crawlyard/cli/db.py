"""`crawlyard db …`: maintenance of the database, on a machine that can reach it."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct

from crawlyard import clock as clocks
from crawlyard.cli.invoke import check_here
from crawlyard.cli.options import OBJECTS, Common, argument, flag, flat, group, option
from crawlyard.cli.render import output, words
from crawlyard.cli.render.output import Column, M, View
from crawlyard.cli.render.output import count_column as numbers
from crawlyard.cli.stdout import whole_stdout
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid, SchemaMismatch, StoreUnavailable
from crawlyard.lazy import lazily

# help needs none of them
with lazily():
    from crawlyard import databases
    from crawlyard.cli import loop, session
    from crawlyard.cli.render import progress
if TYPE_CHECKING:
    from crawlyard.config import Settings

app = group(
    """Copy, back up, restore and check the database.

    crawlyard db backup yard.backup
    crawlyard db copy --to postgresql://crawlyard@db.example.org/crawlyard
    """
)

From = Annotated[
    str, option(str, "--from", "WHERE", "A data directory, file or URL; default: this database.")
]
To = Annotated[str, option(str, "--to", "WHERE", "An empty data directory, file or URL.")]
File = Annotated[Path, argument("FILE", "Backup file.")]
Restart = Annotated[bool, flag("--restart", text="Discard an unfinished copy and start over.")]
AnyWay = Annotated[bool, flag("--force", text="Copy the current state while workers run.")]
Replace = Annotated[bool, flag("--force", text="Replace FILE if it exists.")]
GiveUp = Annotated[bool, flag("--force", text="Discard the current contents.")]


class TableCopied(Struct, frozen=True, kw_only=True):
    """A copied table, equal on both sides."""

    table: str
    rows: int
    digest: str  # of all rows, independent of their order


class Saved(Struct, frozen=True, kw_only=True):
    """A finished backup or restore."""

    file: str
    bytes: int
    database: str
    schema_version: str
    seconds: float


class Upgraded(Struct, frozen=True, kw_only=True):
    """Schema before and after an upgrade."""

    database: str
    before: str | None  # null: there were no tables
    after: str


class TableTaken(Struct, frozen=True, kw_only=True):
    """Rows and bytes of a table, in the answer of `db check`."""

    table: str
    rows: int
    bytes: int | None  # including indexes; null: unknown


class Checked(Struct, frozen=True, kw_only=True):
    """State of a database."""

    database: str
    schema_version: str | None  # null: it has no tables
    current: bool  # schema of this program
    bytes: int
    damage: list[str]
    tables: list[TableTaken]


class Vacuumed(Struct, frozen=True, kw_only=True):
    """Size of a database before and after a vacuum."""

    database: str
    bytes_before: int
    bytes: int


_COPIED: View[TableCopied] = View(
    key=lambda t: t.table,
    columns=[
        Column(name="TABLE", value=lambda t: t.table),
        numbers("ROWS", lambda t: t.rows),
        Column(name="DIGEST", value=lambda t: t.digest, least=70),
    ],
)
_TAKEN: View[TableTaken] = View(
    key=lambda t: t.table,
    columns=[
        Column(name="TABLE", value=lambda t: t.table),
        numbers("ROWS", lambda t: t.rows),
        Column(
            name="BYTES",
            value=lambda t: t.bytes,
            shown=lambda t: "" if t.bytes is None else words.amount(t.bytes),
            right=True,
        ),
    ],
)
_SAVED: View[Saved] = View(
    key=lambda s: s.file,
    columns=[
        Column(name="FILE", value=lambda s: s.file, wide=True),
        Column(name="BYTES", value=lambda s: s.bytes, right=True),
        Column(name="SCHEMA", value=lambda s: s.schema_version),
        Column(name="SECONDS", value=lambda s: s.seconds, right=True),
    ],
)
_UPGRADED: View[Upgraded] = View(
    key=lambda u: u.after,
    columns=[
        Column(name="DATABASE", value=lambda u: u.database, wide=True),
        Column(name="BEFORE", value=lambda u: u.before),
        Column(name="AFTER", value=lambda u: u.after),
    ],
)
_VACUUMED: View[Vacuumed] = View(
    key=lambda v: str(v.bytes),
    columns=[
        Column(name="DATABASE", value=lambda v: v.database, wide=True),
        Column(name="BYTES BEFORE", value=lambda v: v.bytes_before, right=True),
        Column(name="BYTES", value=lambda v: v.bytes, right=True),
    ],
)


@app.command()
@flat()
def copy(
    *,
    to: To,
    from_: From = "",
    restart: Restart = False,
    force: AnyWay = False,
    common: Common,
) -> None:
    """Copy everything to an empty SQLite or Postgres database, and compare the two.

    crawlyard db copy --to postgresql://crawlyard@db.example.org/crawlyard
    crawlyard db copy --from postgresql://crawlyard@db.example.org/crawlyard --to yard.db

    If interrupted, run the same command again to continue. Crawlyard does not open an
    unfinished copy. Stop the workers first: changes after the start are not copied.
    """
    with _open_settings(common) as settings:
        if from_ and common.data_dir is not None:
            raise Invalid("--from", "expected either --from or --data-dir")
        here = _place(from_, "--from") if from_ else databases.place_of(settings)
        there = _place(to, "--to")
        clock = clocks.SystemClock()
        began = clock.monotonic()
        now = databases.now_at(here, clock)
        with _open_gauge(common) as gauge:
            try:
                done = databases.copy_database(
                    here, there, now, gauge.show, restart=restart, force=force
                )
            except KeyboardInterrupt:
                _tell(common, "stopped; run the same command again to continue")
                raise
        rows, took = sum(t.rows for t in done), clock.monotonic() - began
        copied = [TableCopied(table=str(t.table), rows=t.rows, digest=t.digest) for t in done]
        _write(copied, _COPIED, common)
        _tell(
            common,
            f"copied {count_noun(rows, 'row')} of {count_noun(len(done), 'table')} "
            f"in {words.span(took)}; "
            f"{here.name} and {there.name} have equal contents",
        )


@app.command()
@flat()
def backup(file: File, *, force: Replace = False, common: Common) -> None:
    """Back up the whole database to one file, while jobs continue.

    crawlyard db backup yard.backup
    crawlyard db backup /backups/yard.backup --force

    The file is a SQLite database, even for a Postgres instance. Protect it like a password:
    it contains the secrets of webhooks.
    """
    with _open_settings(common) as settings:
        place, clock = databases.place_of(settings), clocks.SystemClock()
        began = clock.monotonic()
        with _open_gauge(common) as gauge:
            saved = databases.backup(place, file, gauge.show, force=force)
        took = clock.monotonic() - began
        _tell(common, f"saved {place.name} to {file}: {words.amount(saved.bytes)}")
        _write_one(_build_saved(file, saved, place, took), _SAVED, common)


@app.command()
@flat()
def restore(file: File, *, force: GiveUp = False, common: Common) -> None:
    """Restore the database from a backup, on SQLite or Postgres.

    crawlyard db restore yard.backup
    crawlyard db restore yard.backup --data-dir other-data
    crawlyard db restore yard.backup --force
    """
    with _open_settings(common) as settings:
        place, clock = databases.place_of(settings), clocks.SystemClock()
        began = clock.monotonic()
        now = databases.now_at(place, clock)
        with _open_gauge(common) as gauge:
            saved = databases.restore(file, place, now, gauge.show, force=force)
        took = clock.monotonic() - began
        _tell(common, f"restored {place.name} from {file}")
        _write_one(_build_saved(file, saved, place, took), _SAVED, common)


@app.command()
@flat()
def upgrade(*, common: Common) -> None:
    """Upgrade the database schema now instead of when the next command opens it.

    crawlyard db upgrade
    crawlyard db upgrade --json
    """
    with _open_settings(common) as settings:
        place = databases.place_of(settings)
        done = databases.upgrade(place)
        was = done.before or "nothing"
        same = done.before == done.after
        message = (
            f"is up to date: {done.after}" if same else f"was upgraded from {was} to {done.after}"
        )
        _tell(common, f"the schema of {place.name} {message}")
        _write_one(
            Upgraded(database=place.label, before=done.before, after=done.after),
            _UPGRADED,
            common,
        )


@app.command()
@flat()
def check(*, common: Common) -> None:
    """Check that the database is intact and up to date, and show the size of its tables.

    crawlyard db check
    crawlyard db check -o json
    """
    with _open_settings(common) as settings:
        place = databases.place_of(settings)
        problems = databases.check_database(place)
        current = problems.version == databases.SCHEMA
        tables = [
            TableTaken(table=str(t.table), rows=t.rows, bytes=t.bytes) for t in problems.tables
        ]
        checked = Checked(
            database=place.label,
            schema_version=problems.version,
            current=current,
            bytes=problems.bytes,
            damage=list(problems.damage),
            tables=tables,
        )
        if common.style_on(terminal=sys.stdout.isatty()) in OBJECTS and not common.quiet:
            output.write_one(checked, common.style_on(terminal=False), common.fields)
        else:
            _write(tables, _TAKEN, common)
        _tell(common, f"{place.name}: schema {problems.version}, {words.amount(problems.bytes)}")
        if problems.damage:
            raise StoreUnavailable(f"{place.name} is damaged: {'; '.join(problems.damage)}")
        if not current:
            raise SchemaMismatch(databases.mismatch(place.name, problems.version))


@app.command()
@flat()
def vacuum(*, common: Common) -> None:
    """Return unused space of the database to the disk, while jobs continue.

    crawlyard db vacuum
    crawlyard db vacuum --json
    """
    with _open_settings(common) as settings:
        place = databases.place_of(settings)
        before, after = databases.vacuum(place)
        _tell(common, f"{place.name} freed {words.amount(max(0, before - after))}")
        _write_one(
            Vacuumed(database=place.label, bytes_before=before, bytes=after),
            _VACUUMED,
            common,
        )


def _build_saved(
    file: Path, saved: "databases.SavedDatabase", place: "databases.DatabaseLocation", took: float
) -> Saved:
    return Saved(
        file=str(file),
        bytes=saved.bytes,
        database=place.label,
        schema_version=saved.version,
        seconds=round(took, 3),
    )


def _place(word: str, option: str) -> "databases.DatabaseLocation":
    """Return the location that *word* names: without a suffix or a file, a data directory."""
    path = Path(word)
    if word and "://" not in word and not path.suffix and not path.is_file():
        return databases.DatabaseLocation.of(path / databases.DATABASE, option)
    return databases.DatabaseLocation.of(word, option)


@contextmanager
def _open_settings(common: Common) -> Iterator["Settings"]:
    """Yield the settings of the instance on this machine.

    Raises:
        Invalid: a server is named: its database is elsewhere.
    """
    with loop.show_tracebacks(debug=common.debug), whole_stdout():
        check_here(common)
        yield session.load_settings(common)


@contextmanager
def _open_gauge(common: Common) -> Iterator["progress.Gauge"]:
    err = output.Screen(sys.stderr).console
    gauge = progress.gauge_on(err, clocks.SystemClock().monotonic, quiet=common.quiet)
    try:
        yield gauge
    finally:
        gauge.close()


def _tell(common: Common, sentence: str) -> None:
    if not common.quiet:
        output.Screen(sys.stderr).say(words.printable(sentence))


def _write(items: Sequence[M], view: View[M], common: Common) -> None:
    """Write a list in the requested format.

    Raises:
        Invalid: an item lacks a requested field.
    """
    style = common.style_on(terminal=sys.stdout.isatty())
    asyncio.run(output.write_all(items, view, style, output.Screen(sys.stdout), common))


def _write_one(item: M, view: View[M], common: Common) -> None:
    """Write one record if requested: stderr already has a summary.

    Raises:
        Invalid: it lacks a requested field.
    """
    if not common.writes_records:
        return
    style = common.style_on(terminal=sys.stdout.isatty())
    if style in OBJECTS and not common.quiet:
        output.write_one(item, style, common.fields)
    else:
        _write([item], view, common)
