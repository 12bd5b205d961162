"""A server: its URL, the token for it, and the certificates that it is trusted by."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from crawlyard.about import VERSION
from crawlyard.errors import Invalid
from crawlyard.trust import CA_FILE, add_trust

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a yard is served, and what proves who asks."""

    url: str  # http://127.0.0.1:8700
    token: str = field(repr=False)
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise Invalid("token", "expected a token: cyt_ and letters; got something else")

    @property
    def base(self) -> str:
        """Return the URL that paths are added to."""
        return self.url.rstrip("/") + PREFIX

    @property
    def headers(self) -> dict[str, str]:
        """Return what is sent with every request."""
        return {
            "Authorization": f"Bearer {self.token}",
            "User-Agent": f"crawlyard-client/{VERSION}",
            "Accept": "application/json",
        }


def check_url(url: str, source: str = "server") -> None:
    """Check that *url* can be that of a server.

    Raises:
        Invalid: it cannot; *source* is the option or setting that it came from.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        why = "" if whole and parts.port != 0 else "expected"
    except ValueError as error:  # a port out of range, an address without its bracket
        why = f"{error}; expected"
    if why:
        said = f"{url!r} is not the URL of a server: {why} one such as http://127.0.0.1:8700"
        raise Invalid(source, said)


def server_of(url: str | None = None, token: str | None = None) -> Server:
    """Return the server that is meant: what is given, else ``CRAWLYARD_SERVER`` and its token.

    A token comes from ``CRAWLYARD_TOKEN``, else from the file that ``CRAWLYARD_TOKEN_FILE`` names.

    Raises:
        Invalid: no server is named, or no token for it.
    """
    url = url or os.environ.get("CRAWLYARD_SERVER", "")
    if not url:
        raise Invalid("server", "expected the URL of a yard; CRAWLYARD_SERVER names one as well")
    token = token or token_given()
    if not token:
        raise Invalid("token", "expected a token; CRAWLYARD_TOKEN or CRAWLYARD_TOKEN_FILE has one")
    return Server(url=url, token=token)


def verified() -> ssl.SSLContext | bool:
    """Return what certificates are verified with.

    It is what httpx trusts; with ``CRAWLYARD_CA_FILE``, also the system's and those of the file.

    Raises:
        Invalid: ``CRAWLYARD_CA_FILE`` names no file of certificates.
    """
    name = os.environ.get(CA_FILE, "")
    if not name:
        return True
    context = httpx.create_ssl_context()  # has the authorities of certifi
    context.load_default_certs()
    add_trust(context, Path(name))
    return context


def token_given() -> str:
    """Return the token that the environment has, or names a file of; nothing: there is none.

    Raises:
        Invalid: that file cannot be read.
    """
    return os.environ.get("CRAWLYARD_TOKEN", "") or _filed()


def _filed() -> str:
    name = os.environ.get("CRAWLYARD_TOKEN_FILE", "")
    if not name:
        return ""
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("CRAWLYARD_TOKEN_FILE", f"{name} cannot be read: {error}") from None
