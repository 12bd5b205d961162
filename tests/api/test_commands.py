"""Commands that are run at the same time."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import crawlyard
from crawlyard import Settings
from crawlyard.cli.accounts import change_grants, change_user
from crawlyard.cli.render.output import Screen
from crawlyard.cli.session import Session
from crawlyard.clock import SystemClock
from crawlyard.core.answer import as_dict
from crawlyard.errors import Stale


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    """A session on a database in a file: what it reads comes from other threads."""
    nobody: Any = None
    screen = Screen(io.StringIO())
    async with crawlyard.open(Settings(data_dir=tmp_path)) as surface:
        yield Session(
            surface=surface,
            ready=nobody,
            clock=SystemClock(),
            instance_options="",
            stdout=screen,
            stderr=screen,
        )


async def test_quotas_changed_at_the_same_time_do_not_undo_each_other(session: Session) -> None:
    yard = session.surface
    await yard.users.create("ada")
    changes = [{"running": 1}, {"pending": 2}, {"pages_per_day": 3}, {"bytes_per_day": 4}]

    ends = await asyncio.gather(
        *(change_user(session, "ada", None, quota) for quota in changes),
        return_exceptions=True,
    )

    check_made(changes, ends, as_dict((await yard.users.get("ada")).quota))


async def test_grants_changed_at_the_same_time_do_not_undo_each_other(session: Session) -> None:
    yard = session.surface
    before = (await yard.settings.get("grants")).effective
    changes = [{name: not granted} for name, granted in before.items()]

    ends = await asyncio.gather(
        *(change_grants(session, change) for change in changes),
        return_exceptions=True,
    )

    check_made(changes, ends, (await yard.settings.get("grants")).effective)


def check_made(
    changes: list[dict[str, Any]], ends: list[BaseException | None], now: Mapping[str, object]
) -> None:
    """Check that what ended well was made, and that the rest was refused."""
    accepted = [change for change, end in zip(changes, ends, strict=True) if end is None]
    refused = [end for end in ends if end is not None]
    assert accepted
    assert all(now.items() >= change.items() for change in accepted)
    assert all(isinstance(end, Stale) for end in refused), refused
