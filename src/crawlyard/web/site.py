"""State that all routes of a server share."""

import contextlib
import secrets

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.config import BridgeName
from crawlyard.errors import Conflict
from crawlyard.web.forwarded import Networks
from crawlyard.web.live.hub import Hub
from crawlyard.web.paging import Cursors
from crawlyard.web.rates import Rates
from crawlyard.yard import Yard

_SEAL = "seal"  # a settings section that no route shows
MAX_HEAD_BYTES = 64 * 1024
"""Limit of the URL and all headers of a request together."""

MAX_BODY_BYTES = 1 << 20
"""Limit of a request body; template imports have their own limit."""

MAX_FILE_BYTES = 4 << 20
"""Limit of a request with a template file: 2 MiB, as text in JSON."""


class SiteOptions(Struct, frozen=True, kw_only=True):
    """Names, limits and proxies of a server."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")  # names without a port
    any_host: bool = False  # accept every Host header: a proxy has checked it
    max_body_bytes: int = MAX_BODY_BYTES
    max_file_bytes: int = MAX_FILE_BYTES
    rate_limits: bool = True
    public_url: str = ""  # the server's URL for people; empty: links are relative
    trusted_proxies: Networks = ()  # may set X-Forwarded-For and X-Forwarded-Proto
    cors_origins: tuple[str, ...] = ()
    bridges: tuple[BridgeName, ...] = ()
    sample: str = ""  # host and port of a site that an admin can crawl to see how it works


class Site(Struct, frozen=True, kw_only=True):
    """The yard, its streams, cursors and rate limits."""

    yard: Yard
    live: Hub
    cursors: Cursors
    rates: Rates
    options: SiteOptions = field(default_factory=SiteOptions)


async def open_site(yard: Yard, options: SiteOptions) -> Site:
    """Return the site of a yard; the key of its cursors is created once and kept in the store."""
    return Site(
        yard=yard,
        live=Hub(yard, yard.services.access, yard.services.watching),
        cursors=Cursors(await _sealing_key(yard)),
        rates=Rates(yard.clock, on=options.rate_limits),
        options=options,
    )


async def _sealing_key(yard: Yard) -> bytes:
    section = await yard.store.settings.get(_SEAL)
    if not section.version:
        new_section = replace(
            section,
            value={"key": secrets.token_hex(32)},
            version=1,
            updated_at=yard.clock.now(),
        )
        with contextlib.suppress(Conflict):  # another server was faster
            await yard.store.settings.save(new_section)
        section = await yard.store.settings.get(_SEAL)
    return bytes.fromhex(str(section.value["key"]))
