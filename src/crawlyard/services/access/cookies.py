"""Cookies of a job between its jar and the store, where they are sealed."""

from collections.abc import Mapping

from crawlyard.core.crawl.cookie import Cookie, decode_cookies, encode_cookies
from crawlyard.engine.http.cookies import CookieJar
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily
from crawlyard.store.store import Store

# most crawls get no cookie, and it loads a large library
with lazily():
    from crawlyard.services.access import sealing


class Sealer:
    """Creates the seal of an instance; its key is in the settings or, if unset, in the store."""

    def __init__(self, store: Store, key: str = "") -> None:
        self._store = store
        self._configured_key = key
        self._seal: sealing.Seal | None = None

    async def seal(self) -> "sealing.Seal":
        """Return the seal.

        Raises:
            StoreUnavailable: the key cannot be read now.
        """
        if self._seal is None:
            key = self._configured_key or await self._store.keys.get_or_create(sealing.new_key())
            self._seal = sealing.Seal(key)
        return self._seal

    async def open(self, sealed: bytes) -> bytes:
        """Decrypt *sealed*.

        Raises:
            Invalid: it was sealed with another key, or is damaged.
            StoreUnavailable: the key cannot be read now.
        """
        seal = await self.seal()
        try:
            return seal.open(sealed)
        except sealing.NotOpened as error:
            raise Invalid("secret_key", str(error)) from None

    async def seal_changes(self, changes: Mapping[str, Cookie | None]) -> Mapping[str, bytes]:
        """Return the changed cookies of a jar, sealed for a checkpoint."""
        if not changes:
            return {}
        seal = (await self.seal()).seal
        return {
            key: seal(encode_cookies([cookie])) if cookie is not None else b""
            for key, cookie in changes.items()
        }

    async def jar(self, job_id: str) -> tuple[CookieJar, str]:
        """Return the jar of a job as of its last checkpoint, and why it was lost, if it was."""
        stored = await self._store.cookies.of_job(job_id)
        if not stored:
            return CookieJar(), ""
        seal = await self.seal()
        try:
            return CookieJar.of(c for data in stored for c in decode_cookies(seal.open(data))), ""
        except sealing.NotOpened as error:
            return CookieJar(), f"the crawl begins without the cookies that it had: {error}"
