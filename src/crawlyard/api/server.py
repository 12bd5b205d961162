"""Address of a server: URL, token and trusted certificates."""

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
    """URL of a server, and the token for it."""

    url: str  # http://127.0.0.1:8700
    token: str = field(repr=False)  # empty: none is sent
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise Invalid("token", "expected a token such as cyt_…")

    @property
    def base(self) -> str:
        """Base URL of API paths."""
        return self.url.rstrip("/") + PREFIX

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        credentials = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return credentials | {
            "User-Agent": f"crawlyard-client/{VERSION}",
            "Accept": "application/json",
        }


def check_url(url: str, source: str = "server") -> None:
    """Check that *url* is a valid server URL.

    Raises:
        Invalid: it is not; *source* is the option or setting that it came from.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        error_text = "" if whole and parts.port != 0 else "expected a URL"
    except ValueError as error:  # a port out of range, an address without its bracket
        error_text = f"{error}; expected a URL"
    if error_text:
        detail = f"{url!r} is not a server URL: {error_text} such as http://127.0.0.1:8700"
        raise Invalid(source, detail)


def server_of(url: str | None = None, token: str | None = None) -> Server:
    """Return the server at *url*, by default that of ``CRAWLYARD_SERVER``.

    The token defaults to ``CRAWLYARD_TOKEN`` or the file that ``CRAWLYARD_TOKEN_FILE`` names.

    Raises:
        Invalid: no server is named, or no token for it.
    """
    url = url or os.environ.get("CRAWLYARD_SERVER", "")
    if not url:
        raise Invalid("server", "expected the URL of a server; set CRAWLYARD_SERVER")
    token = token or environment_token()
    if not token:
        raise Invalid("token", "expected a token; set CRAWLYARD_TOKEN or CRAWLYARD_TOKEN_FILE")
    return Server(url=url, token=token)


def tls_context() -> ssl.SSLContext | bool:
    """Return the authorities to verify certificates with.

    The default of httpx; with ``CRAWLYARD_CA_FILE``, also the system's and those of the file.

    Raises:
        Invalid: ``CRAWLYARD_CA_FILE`` is not a file of certificates.
    """
    name = os.environ.get(CA_FILE, "")
    if not name:
        return True
    context = httpx.create_ssl_context()  # has the authorities of certifi
    context.load_default_certs()
    add_trust(context, Path(name))
    return context


def environment_token() -> str:
    """Return the token from the environment or the file that it names; empty if none.

    Raises:
        Invalid: the file cannot be read.
    """
    return os.environ.get("CRAWLYARD_TOKEN", "") or _token_from_file()


def _token_from_file() -> str:
    name = os.environ.get("CRAWLYARD_TOKEN_FILE", "")
    if not name:
        return ""
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("CRAWLYARD_TOKEN_FILE", f"{name} cannot be read: {error}") from None
