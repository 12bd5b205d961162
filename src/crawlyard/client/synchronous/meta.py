# made of asynchronous/meta.py by `python -m tests.sync_client`; a test compares it
"""What a server says of itself."""

from crawlyard.client.synchronous.calls import Calls
from crawlyard.core.answers.fleet.meta import EnumsOut, MetaOut, SchemasOut


class Meta:
    """Reads the version of a server, its words and its forms."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self) -> MetaOut:
        """Return the version, what there is, and how much may be sent."""
        return self._calls.one(MetaOut, "GET", "meta")

    def enums(self) -> EnumsOut:
        """Return the closed lists of words, each word with what it means."""
        return self._calls.one(EnumsOut, "GET", "meta/enums")

    def schemas(self) -> SchemasOut:
        """Return JSON Schemas of what may be sent, by what it makes."""
        return self._calls.one(SchemasOut, "GET", "meta/schemas")
