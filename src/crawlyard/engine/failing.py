"""How a request fails: told apart from the client that makes requests, which takes long to load."""

from crawlyard.core.page import ErrorKind


class FetchFailed(Exception):
    """There was no usable answer; *transient* says whether another try may bring one."""

    def __init__(self, kind: ErrorKind, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.transient = transient
