"""What a yard has come to and how it is set: figures, what needs a person, settings."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.core.answers.access.settings import SectionOut
from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.core.answers.fleet.stats import StatsOut


class Stats:
    """Counts jobs, pages and bytes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: float | None = None,
        owner: str | None = None,
    ) -> StatsOut:
        """Return what there is now, and what was done from *since* up to and without *until*.

        By default the last day, in steps of an hour. *owner* is ``me`` or nobody: an
        admin is told of all.
        """
        asked = {"since": since, "until": until, "step_s": step_s, "owner": owner}
        return await self._calls.one(StatsOut, "GET", "stats", params=asked)


class Attention:
    """Looks at what needs a person."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get(self) -> AttentionOut:
        """Return it, since when it does, and which endpoint helps."""
        return await self._calls.one(AttentionOut, "GET", "attention")


class SettingSections:
    """Reads the settings that an admin changes while the yard runs, and changes them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> AsyncGenerator[SectionOut]:
        """Yield all sections."""
        return self._calls.whole(SectionOut, "settings")

    async def get(self, section: str) -> SectionOut:
        """Return a section: what was written, and what holds."""
        return await self._calls.one(SectionOut, "GET", f"settings/{part(section)}")

    async def put(
        self, section: str, value: Mapping[str, object], *, version: int | None = None
    ) -> SectionOut:
        """Let a section say this and nothing else."""
        return await self._calls.one(
            SectionOut,
            "PUT",
            f"settings/{part(section)}",
            body=value,
            headers=if_match(version, required=True),
        )
