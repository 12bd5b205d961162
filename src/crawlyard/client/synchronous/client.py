# made of asynchronous/client.py by `python -m tests.sync_client`; a test compares it
"""A client of one yard."""

from collections.abc import Mapping
from typing import Self

import httpx

from crawlyard.client.synchronous.account import Tokens, Users
from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.synchronous.events import Events
from crawlyard.client.synchronous.fleet import Hosts, Workers
from crawlyard.client.synchronous.jobs import Jobs
from crawlyard.client.synchronous.meta import Meta
from crawlyard.client.synchronous.operations import Operations
from crawlyard.client.synchronous.pages import Pages
from crawlyard.client.synchronous.schedules import Schedules
from crawlyard.client.synchronous.templates import Templates
from crawlyard.client.synchronous.views import Views
from crawlyard.client.synchronous.webhooks import Webhooks
from crawlyard.client.synchronous.yard import Attention, SettingSections, Stats
from crawlyard.client.transport import Server, server_of, verified

_NOTHING: Mapping[str, object] = {}
_PLAIN: Mapping[str, str] = {}


class Client:
    """Asks a yard over HTTP. Use it as a context manager, or close it.

    Without *url* and *token*, ``CRAWLYARD_SERVER`` and ``CRAWLYARD_TOKEN`` (or the file
    that ``CRAWLYARD_TOKEN_FILE`` names) say where and who. The certificate authorities in
    the file that ``CRAWLYARD_CA_FILE`` names are trusted in addition to the system's.

    Raises:
        Invalid: nobody says it, or it cannot be right.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        server: Server | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        own = server or server_of(url, token)
        self._http = httpx.Client(
            headers=own.headers, timeout=own.timeout_s, transport=transport, verify=verified()
        )
        self.calls = calls = Calls(own, self._http)
        self.jobs = Jobs(calls)
        self.templates = Templates(calls)
        self.schedules = Schedules(calls)
        self.webhooks = Webhooks(calls)
        self.events = Events(calls)
        self.workers = Workers(calls)
        self.hosts = Hosts(calls)
        self.tokens = Tokens(calls)
        self.users = Users(calls)
        self.operations = Operations(calls)
        self.settings = SettingSections(calls)
        self.views = Views(calls)
        self.stats = Stats(calls)
        self.attention = Attention(calls)
        self.pages = Pages(calls)
        self.meta = Meta(calls)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        body: object = None,
        headers: Mapping[str, str] = _PLAIN,
    ) -> httpx.Response:
        """Return the answer to any request; *path* is below ``/api/v1`` unless it begins with /.

        Raises:
            CrawlyardError: the server refused, or nobody answered.
        """
        return self.calls.send(method, path, params=params, body=body, headers=headers)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
