"""Disk space of the data directory."""

import asyncio
import shutil
from pathlib import Path

from crawlyard.config import Settings
from crawlyard.core.attention.attention import Disk

_FILE = "sqlite:///"
_NOWHERE = "memory://"


async def room(settings: Settings) -> Disk | None:
    """Return the free space where an instance keeps its data.

    ``None`` if that is in memory, or if it cannot be measured.
    """
    folder = folder_of(settings)
    if folder is None:
        return None
    try:
        # a network disk may be slow
        usage = await asyncio.to_thread(shutil.disk_usage, folder)
    except OSError:
        return None
    return Disk(folder=str(folder), free=usage.free, total=usage.total)


def folder_of(settings: Settings) -> Path | None:
    """Return the folder of an instance's data, or ``None`` if the data is in memory.

    With Postgres, that is the folder in which the workers keep their own files.
    """
    url = settings.database_url
    if url == _NOWHERE:
        return None
    if url.startswith(_FILE):
        return Path(url.removeprefix(_FILE)).parent
    if url and "://" not in url:
        return Path(url).parent
    return settings.data_dir
