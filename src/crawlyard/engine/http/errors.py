"""How a request fails: told apart from the client that makes requests, which takes long to load."""

from crawlyard.core.crawl.page import ErrorKind


class FetchFailed(Exception):
    """There was no usable answer; *transient* says whether another try may bring one."""

    def __init__(self, kind: ErrorKind, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.transient = transient


class NotSent(Exception):
    """A request was prepared, but its host may not be asked yet: it is sent some other time."""


class NotAsked(Exception):
    """The receiver was not asked, for reasons that are not its own: it is not to be blamed."""


def plain(error: BaseException) -> str:
    """Return what an error says, in one line of at most 200 characters."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
