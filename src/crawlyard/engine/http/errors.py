"""Exceptions of requests, separate from the HTTP client because that is slow to import."""

from crawlyard.core.crawl.page import ErrorKind


class FetchFailed(Exception):
    """There was no usable response; *transient* says whether a retry may get one."""

    def __init__(self, kind: ErrorKind, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.transient = transient


class NotSent(Exception):
    """A prepared request was not sent because its host isn't ready; it is sent later."""


class NotAsked(Exception):
    """The receiver was not contacted, for reasons on our side; don't count it as its failure."""


def plain(error: BaseException) -> str:
    """Return the message of an error in one line of at most 200 characters."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
