"""What all routes of one server share."""

import contextlib
import secrets

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.errors import Conflict
from crawlyard.web.forwarded import Networks
from crawlyard.web.live.hub import Hub
from crawlyard.web.paging import Cursors
from crawlyard.web.rates import Rates
from crawlyard.yard import Yard

_SEAL = "seal"  # a section that no route shows
MAX_HEAD_BYTES = 64 * 1024
"""Of the URL and all headers of a request together."""

MAX_BODY_BYTES = 1 << 20
"""Of a request; imports of templates may be larger by themselves."""

MAX_FILE_BYTES = 4 << 20
"""Of a request with the file of a template: of 2 MiB, as text in JSON."""


class SiteOptions(Struct, frozen=True, kw_only=True):
    """How a server is reached, and what it takes."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")  # names without a port
    any_host: bool = False  # whatever Host says will do: a proxy has checked it
    max_body_bytes: int = MAX_BODY_BYTES
    max_file_bytes: int = MAX_FILE_BYTES
    rate_limits: bool = True
    public_url: str = ""  # the server's URL for people; empty: links are relative
    trusted_proxies: Networks = ()  # may set X-Forwarded-For and X-Forwarded-Proto
    cors_origins: tuple[str, ...] = ()
    sample: str = ""  # host and port of a site that an admin can crawl to see how it works


class Site(Struct, frozen=True, kw_only=True):
    """The yard, as it is opened to others."""

    yard: Yard
    live: Hub
    cursors: Cursors
    rates: Rates
    options: SiteOptions = field(default_factory=SiteOptions)


async def open_site(yard: Yard, options: SiteOptions) -> Site:
    """Return the site of a yard: what seals its cursors is made once, and kept in the store."""
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
        made = replace(
            section,
            value={"key": secrets.token_hex(32)},
            version=1,
            updated_at=yard.clock.now(),
        )
        with contextlib.suppress(Conflict):  # another server was faster
            await yard.store.settings.save(made)
        section = await yard.store.settings.get(_SEAL)
    return bytes.fromhex(str(section.value["key"]))
