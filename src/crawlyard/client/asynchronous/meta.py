"""What a server says of itself."""

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.core.answers.fleet.meta import EnumsOut, MetaOut, SchemasOut


class Meta:
    """Reads the version of a server, its words and its forms."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get(self) -> MetaOut:
        """Return the version, what there is, and how much may be sent."""
        return await self._calls.one(MetaOut, "GET", "meta")

    async def enums(self) -> EnumsOut:
        """Return the closed lists of words, each word with what it means."""
        return await self._calls.one(EnumsOut, "GET", "meta/enums")

    async def schemas(self) -> SchemasOut:
        """Return JSON Schemas of what may be sent, by what it makes."""
        return await self._calls.one(SchemasOut, "GET", "meta/schemas")
