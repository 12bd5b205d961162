"""Which URLs may receive messages: found out when a webhook is saved, by the crawler's guard."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec.structs import replace

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.webhooks.webhook import JobWebhook, check_patterns
from crawlyard.engine.http.guard import BlockedAddress, Guard, spec_guard
from crawlyard.engine.urls import canonical, hostname_of, port_of
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.signing import check_secret, new_secret

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, for a port; raises `OSError` if it has none."""


async def receiver(url: str, guard: Guard, resolve: Resolve) -> str:
    """Return *url* in its canonical spelling, if *guard* lets messages be sent there.

    Names are looked up: where they lead now must be allowed. A connection is judged
    again when it is made, since a name may lead elsewhere by then.

    Raises:
        Invalid: it is no https URL (http will do where *guard* opens the address), names
            a user, has no address, or leads to one that is closed.
    """
    url = _plain_url(url)
    host, port = hostname_of(url), port_of(url)
    literal = _literal(host)
    try:
        addresses = [literal] if literal else await resolve(host, port)
    except (OSError, TimeoutError) as error:
        raise Invalid("url", f"{host} has no address: {error}") from error
    for address in addresses:
        _check(url, address, guard)
    return url


def with_webhooks(spec: JobSpec) -> JobSpec:
    """Return *spec* with its webhooks checked, and a secret made for each that names none.

    Addresses are judged, names are not looked up: see `check_names`.

    Raises:
        Invalid: a URL is not fit as for `receiver`, an event is not one of a job, or a
            secret cannot sign; the field is ``webhooks.0.url``, say.
    """
    if not spec.webhooks:
        return spec
    guard = spec_guard(spec)
    webhooks: list[JobWebhook] = []
    for number, asked in enumerate(spec.webhooks):
        try:
            webhooks.append(_checked(asked, guard))
        except Invalid as error:
            raise Invalid(f"webhooks.{number}.{error.field}", error.message) from None
    found = tuple(webhooks)
    return spec if found == spec.webhooks else replace(spec, webhooks=found)


async def check_names(spec: JobSpec, resolve: Resolve) -> None:
    """Look up where the webhooks of *spec* lead now, and check that this is allowed.

    Raises:
        Invalid: as for `receiver`; the field is ``webhooks.0.url``, say.
    """
    guard = spec_guard(spec)
    for number, asked in enumerate(spec.webhooks):
        try:
            await receiver(asked.url, guard, resolve)
        except Invalid as error:
            raise Invalid(f"webhooks.{number}.{error.field}", error.message) from None


def _checked(asked: JobWebhook, guard: Guard) -> JobWebhook:
    check_patterns(asked.events, kind="job")
    if asked.secret:
        check_secret(asked.secret)
    url = _plain_url(asked.url)
    address = _literal(hostname_of(url))
    if address:
        _check(url, address, guard)
    elif not guard.opens(hostname_of(url), _NOWHERE, port_of(url)):
        _check_https(url)
    return replace(asked, url=url, secret=asked.secret or new_secret())


_NOWHERE = "0.0.0.0"  # noqa: S104 - nothing listens: it stands for an address not known yet


def _plain_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        named = parts.username or parts.password
    except ValueError:
        named = None  # `canonical` says what is wrong
    if named:
        raise Invalid("url", "expected no user name or password in it: the signature proves who")
    return canonical(url)


def _check(url: str, address: str, guard: Guard) -> None:
    host, port = hostname_of(url), port_of(url)
    try:
        guard.check(host, address, port)
    except BlockedAddress as blocked:
        raise Invalid("url", str(blocked)) from None
    if not guard.opens(host, address, port):
        _check_https(url)


def _check_https(url: str) -> None:
    if not url.startswith("https:"):
        host = hostname_of(url)
        raise Invalid("url", f"expected https://{host}…; --allow-address {host} lets http do")


def _literal(host: str) -> str:
    """Return the address that a host name is by itself, empty if it has to be looked up."""
    if f".{host.removesuffix('.')}".endswith(".localhost"):
        return "127.0.0.1"  # RFC 6761, section 6.3
    try:
        return str(ip_address(host))
    except ValueError:
        return ""
