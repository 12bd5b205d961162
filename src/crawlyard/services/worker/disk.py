"""The disk that the data directory is on."""

import asyncio
import shutil
from pathlib import Path

from crawlyard.config import Settings
from crawlyard.core.overview.attention import Disk

_FILE = "sqlite:///"
_NOWHERE = "memory://"


class DataDisk:
    """Looks how much room is left where a yard keeps its data."""

    def __init__(self, settings: Settings) -> None:
        self._folder = folder_of(settings)

    async def room(self) -> Disk | None:
        """Return how much is free, ``None`` where nothing is kept, or nobody can say."""
        folder = self._folder
        if folder is None:
            return None
        try:
            # a network's disk may take its time
            usage = await asyncio.to_thread(shutil.disk_usage, folder)
        except OSError:
            return None
        return Disk(folder=str(folder), free=usage.free, total=usage.total)


def folder_of(settings: Settings) -> Path | None:
    """Return the folder that the data of a yard is in, ``None`` if it is in memory.

    Of a yard on Postgres, that in which its workers keep their own files.
    """
    url = settings.database_url
    if url == _NOWHERE:
        return None
    if url.startswith(_FILE):
        return Path(url.removeprefix(_FILE)).parent
    if url and "://" not in url:
        return Path(url).parent
    return settings.data_dir
