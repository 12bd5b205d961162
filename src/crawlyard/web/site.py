"""What all routes of one server share."""

import contextlib
import secrets

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.errors import Conflict
from crawlyard.services.access.credentials import Credentials
from crawlyard.services.access.users import Users
from crawlyard.services.access.views import Views
from crawlyard.services.jobs.bulk import Bulk
from crawlyard.services.jobs.effective_config import Configs
from crawlyard.services.jobs.exclusions import Exclusions
from crawlyard.services.jobs.preview import Preview
from crawlyard.services.jobs.submission import Requests
from crawlyard.services.jobs.wait import Waiting
from crawlyard.services.jobs.why import Why
from crawlyard.services.schedules.backfill_operation import BackfillOperations
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
    cors_origins: tuple[str, ...] = ()


class Site(Struct, frozen=True, kw_only=True):
    """The yard, as it is opened to others."""

    yard: Yard
    access: Credentials
    users: Users
    requests: Requests
    waiting: Waiting
    configs: Configs
    why: Why
    preview: Preview
    exclusions: Exclusions
    bulk: Bulk
    backfills: BackfillOperations
    views: Views
    live: Hub
    cursors: Cursors
    rates: Rates
    options: SiteOptions = field(default_factory=SiteOptions)


async def open_site(yard: Yard, options: SiteOptions) -> Site:
    """Return the site of a yard: what seals its cursors is made once, and kept in the store."""
    of = yard.services
    return Site(
        yard=yard,
        access=of.access,
        users=of.users,
        requests=of.requests,
        waiting=of.waiting,
        configs=of.configs,
        why=of.why,
        exclusions=of.exclusions,
        bulk=of.bulk,
        views=of.views,
        backfills=of.backfills,
        preview=of.preview,
        live=Hub(yard, of.access, of.watching),
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
