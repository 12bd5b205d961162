"""Any walk through a store's methods is the same walk if the database is moved in its middle."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from crawlyard.databases import DatabaseLocation
from crawlyard.store.admin.copy import copy
from crawlyard.store.admin.marks import OverwriteTerms
from tests.conformance.conftest import Backend
from tests.conformance.test_walks import WALKS, Walk
from tests.conformance.whole import silent


class MovingWalk(Walk):
    """A walk that now and then goes on in a copy of its database, one of the other kind."""

    def __init__(self, fresh: Callable[[], Backend], places: tuple[str, str]) -> None:
        super().__init__(fresh)
        self.places = places

    @rule()
    def move(self) -> None:
        self.run(self.store.close())
        where = self.places[self.backend.where == self.places[0]]
        terms = OverwriteTerms(field="--to", replace=True)
        copy(
            DatabaseLocation.of(self.backend.where),
            DatabaseLocation.of(where),
            terms,
            silent,
            most_rows=3,
        )
        self.backend = Backend(where)
        self.store = self.run(self.backend.open())


@pytest.mark.slow
@pytest.mark.postgres
def test_any_walk_goes_on_in_a_copy_as_it_would_have_gone(
    sqlite_template: Path, postgres_url: str, tmp_path: Path
) -> None:
    places = (str(tmp_path / "yard.db"), postgres_url)

    def fresh() -> Backend:
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        return Backend(str(shutil.copy(sqlite_template, places[0])))

    class Here(MovingWalk):
        def __init__(self) -> None:
            super().__init__(fresh, places)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
