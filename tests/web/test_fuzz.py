"""No request causes a server error, and every response matches the OpenAPI document.

The default run asks each operation a few times, the tests marked slow many times.
"""

from pathlib import Path

import pytest

from crawlyard.core.access.user import Role
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.web.fuzzing import PHASES, PREVIEW, Opener, Wish, fuzzed

ALL = frozenset(PHASES)
DRAWN = frozenset({"fuzzing", "stateful"})


async def in_memory() -> Store:
    return open_in_memory()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Open a database: it has bounds that Python does not have."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return lambda: open_sql_store(url)
    return lambda: open_sql_store(tmp_path / "yard.db")


def test_what_an_operator_sends_first_is_answered_as_documented() -> None:
    done = fuzzed(in_memory, Wish(role=Role.OPERATOR, phases=frozenset({"fuzzing"}), examples=1))
    assert done.failures == []
    assert {200, 201, 204, 400, 404, 409, 422} <= set().union(*done.answers.values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_requests_of_an_operator_get_documented_responses() -> None:
    done = fuzzed(in_memory, Wish(role=Role.OPERATOR, phases=ALL, examples=3, walks=50))
    assert done.failures == []
    assert {200, 201, 202, 204, 400, 404, 409, 412, 422} <= set().union(*done.answers.values())
    unreached = [name for name, statuses in done.answers.items() if min(statuses) >= 400]
    assert len(unreached) < len(done.answers) / 3  # those for admins, and what needs a good body
    assert f"POST {PREVIEW}" in unreached  # no host is asked


@pytest.mark.slow
def test_random_requests_of_a_viewer_get_documented_responses() -> None:
    done = fuzzed(in_memory, Wish(role=Role.VIEWER, phases=DRAWN, examples=2, walks=20))
    assert done.failures == []
    assert done.answers["POST /api/v1/jobs"] <= {400, 401, 403, 415, 422}


@pytest.mark.slow
def test_random_input_is_stored_by_a_database_or_refused(database: Opener) -> None:
    done = fuzzed(database, Wish(role=Role.ADMIN, phases=frozenset({"fuzzing"}), examples=1))
    assert done.failures == []
