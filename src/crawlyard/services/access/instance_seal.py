"""Seal of an instance: its key is made once, and kept in the store."""

import contextlib
import secrets

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.errors import Conflict
from crawlyard.services.access.sealing import Seal
from crawlyard.store.store import Store

_SECTION = "sealing"  # a section of the settings that no route shows


async def instance_seal(store: Store, clock: Clock) -> Seal:
    """Return the seal of the instance, with a new key if it has none."""
    section = await store.settings.get(_SECTION)
    if not section.version:
        value = {"key": secrets.token_hex(32)}
        made = replace(section, value=value, version=1, updated_at=clock.now())
        with contextlib.suppress(Conflict):  # another process was faster
            await store.settings.save(made)
        section = await store.settings.get(_SECTION)
    return Seal(str(section.value["key"]))
