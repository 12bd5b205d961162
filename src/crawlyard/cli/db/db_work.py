"""What commands do to whole databases, and tell of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from crawlyard import databases
from crawlyard.cli.db import db_reports
from crawlyard.cli.db.db_reports import Checked, Saved, TableCopied, TableTaken, Upgraded, Vacuumed
from crawlyard.cli.login import server_asked
from crawlyard.cli.loop import traced
from crawlyard.cli.options import OBJECTS, Basics, Common
from crawlyard.cli.render import output, words
from crawlyard.cli.render.progress import Gauge, gauge_on
from crawlyard.cli.session import settings_of
from crawlyard.cli.stdout import whole_stdout
from crawlyard.clock import SystemClock
from crawlyard.config import Settings
from crawlyard.core.quantity import counted
from crawlyard.databases import DatabaseLocation
from crawlyard.errors import Invalid, SchemaMismatch, StoreUnavailable


def copy(source: str, target: str, common: Common, *, restart: bool, force: bool) -> None:
    """Copy one database to another, and list what was copied."""
    with _here(common) as settings:
        here = _place(source, "--from") if source else databases.place_of(settings)
        there = _place(target, "--to")
        clock = SystemClock()
        began = clock.monotonic()
        now = databases.now_at(here, clock)
        with _gauged(common) as gauge:
            try:
                done = databases.copy_database(
                    here, there, now, gauge.show, restart=restart, force=force
                )
            except KeyboardInterrupt:
                _tell(common, "stopped; the same command goes on where it was")
                raise
        rows, took = sum(t.rows for t in done), clock.monotonic() - began
        copied = [TableCopied(table=str(t.table), rows=t.rows, digest=t.digest) for t in done]
        db_reports.write(copied, db_reports.COPIED, common)
        _tell(
            common,
            f"copied {counted(rows, 'row')} of {counted(len(done), 'table')} "
            f"in {words.span(took)}; "
            f"{here.name} and {there.name} hold the same",
        )


def backup(file: Path, common: Common, *, force: bool) -> None:
    """Save the yard to a file."""
    with _here(common) as settings:
        place, clock = databases.place_of(settings), SystemClock()
        began = clock.monotonic()
        with _gauged(common) as gauge:
            saved = databases.backup(place, file, gauge.show, force=force)
        took = clock.monotonic() - began
        _tell(common, f"saved {place.name} to {file}: {words.amount(saved.bytes)}")
        db_reports.write_one(_saved(file, saved, place, took), db_reports.SAVED, common)


def restore(file: Path, common: Common, *, force: bool) -> None:
    """Make the yard what a file holds."""
    with _here(common) as settings:
        place, clock = databases.place_of(settings), SystemClock()
        began = clock.monotonic()
        now = databases.now_at(place, clock)
        with _gauged(common) as gauge:
            saved = databases.restore(file, place, now, gauge.show, force=force)
        took = clock.monotonic() - began
        _tell(common, f"restored {place.name} from {file}")
        db_reports.write_one(_saved(file, saved, place, took), db_reports.SAVED, common)


def upgrade(common: Common) -> None:
    """Bring the tables up to date."""
    with _here(common) as settings:
        place = databases.place_of(settings)
        done = databases.upgrade(place)
        was = done.before or "nothing"
        same = done.before == done.after
        said = f"is up to date: {done.after}" if same else f"went from {was} to {done.after}"
        _tell(common, f"the schema of {place.name} {said}")
        db_reports.write_one(
            Upgraded(database=place.label, before=done.before, after=done.after),
            db_reports.UPGRADED,
            common,
        )


def check(common: Common) -> None:
    """Look over the database.

    Raises:
        StoreUnavailable: it is damaged.
        SchemaMismatch: its schema is not that of this program.
    """
    with _here(common) as settings:
        place = databases.place_of(settings)
        found = databases.look(place)
        current = found.version == databases.SCHEMA
        tables = [TableTaken(table=str(t.table), rows=t.rows, bytes=t.bytes) for t in found.tables]
        checked = Checked(
            database=place.label,
            schema_version=found.version,
            current=current,
            bytes=found.bytes,
            damage=list(found.damage),
            tables=tables,
        )
        if common.style_on(terminal=sys.stdout.isatty()) in OBJECTS and not common.quiet:
            output.write_one(checked, common.style_on(terminal=False), common.fields)
        else:
            db_reports.write(tables, db_reports.TAKEN, common)
        _tell(common, f"{place.name}: schema {found.version}, {words.amount(found.bytes)}")
        if found.damage:
            raise StoreUnavailable(f"{place.name} is damaged: {'; '.join(found.damage)}")
        if not current:
            raise SchemaMismatch(databases.mismatch(place.name, found.version))


def vacuum(common: Common) -> None:
    """Give free room back."""
    with _here(common) as settings:
        place = databases.place_of(settings)
        before, after = databases.vacuum(place)
        _tell(common, f"{place.name} gave back {words.amount(max(0, before - after))}")
        db_reports.write_one(
            Vacuumed(database=place.label, bytes_before=before, bytes=after),
            db_reports.VACUUMED,
            common,
        )


def _saved(
    file: Path, saved: databases.SavedDatabase, place: DatabaseLocation, took: float
) -> Saved:
    return Saved(
        file=str(file),
        bytes=saved.bytes,
        database=place.label,
        schema_version=saved.version,
        seconds=round(took, 3),
    )


def _place(word: str, option: str) -> DatabaseLocation:
    """Return what a word names: what has no suffix and is no file is a data directory."""
    path = Path(word)
    if word and "://" not in word and not path.suffix and not path.is_file():
        return DatabaseLocation.of(path / databases.DATABASE, option)
    return DatabaseLocation.of(word, option)


@contextmanager
def _here(basics: Basics) -> Iterator[Settings]:
    """Yield the settings of the yard that is reached from here.

    Raises:
        Invalid: a server is named: its database is elsewhere.
    """
    with traced(debug=basics.debug), whole_stdout():
        url, given = server_asked(basics)
        if url:
            said = "this runs on a data directory or database of its own; leave the server out"
            raise Invalid(given, said)
        yield settings_of(basics)


@contextmanager
def _gauged(common: Common) -> Iterator[Gauge]:
    gauge = gauge_on(_err(), SystemClock().monotonic, quiet=common.quiet)
    try:
        yield gauge
    finally:
        gauge.close()


def _err() -> Console:
    return output.console_on(sys.stderr)


def _tell(common: Common, sentence: str) -> None:
    if not common.quiet:
        _err().print(words.printable(sentence), markup=False, highlight=False, soft_wrap=True)
