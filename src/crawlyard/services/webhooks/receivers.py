"""Checks of webhook URLs when a webhook is saved, with the crawler's address guard."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec.structs import replace

from crawlyard.core.fields import check_all
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.webhooks.webhook import (
    OF_A_JOB,
    PAGE_FORMATS,
    JobWebhook,
    check_metadata,
    check_patterns,
)
from crawlyard.engine.admission import check_header, check_spec
from crawlyard.engine.http.guard import BlockedAddress, Guard, spec_guard
from crawlyard.engine.urls import address_in, canonical, hostname_of, port_of
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.signing import check_secret, new_secret

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host and port to addresses; raises `OSError` if there are none."""


async def receiver(url: str, guard: Guard, resolve: Resolve) -> str:
    """Return *url* in canonical form after checking that *guard* allows messages to it.

    Host names are looked up, and all their current addresses must be allowed. Each
    connection is checked again when it is made, since a name may resolve to another
    address later.

    Raises:
        Invalid: it is not an https URL (http is accepted where *guard* opens the address),
            contains a user name or password, has no address, or has a blocked one.
    """
    url = _plain_url(url)
    host, port = hostname_of(url), port_of(url)
    literal = address_in(host)
    try:
        addresses = [literal] if literal else await resolve(host, port)
    except (OSError, TimeoutError) as error:
        raise Invalid("url", f"{host} has no address: {error}") from error
    for address in addresses:
        _check(url, address, guard)
    return url


def with_webhooks(spec: JobSpec) -> JobSpec:
    """Return *spec* with its webhooks checked, and a new secret for each that has none.

    Literal addresses are checked; host names are not looked up: see `check_names`.

    Raises:
        Invalid: a URL is not valid as for `receiver`, an event is not of a job or a group, a secret
            cannot sign, or metadata is too long; the field is, for example, ``webhooks.0.url``.
    """
    if not spec.webhooks:
        return spec
    guard = spec_guard(spec)
    webhooks: list[JobWebhook] = []
    errors: list[Invalid] = []
    for number, webhook in enumerate(spec.webhooks):
        try:
            webhooks.append(_check_webhook(webhook, guard))
        except Invalid as error:
            errors.append(error.map(partial(_prefix_field, number)))
    if errors:
        raise Invalid.of(errors)
    receivers = tuple(webhooks)
    return spec if receivers == spec.webhooks else replace(spec, webhooks=receivers)


def check_job_spec(spec: JobSpec) -> None:
    """Check the URLs, patterns, selectors and webhooks of a spec.

    Raises:
        Invalid: it cannot be crawled as it is.
    """
    check_all(partial(check_spec, spec), partial(with_webhooks, spec))


async def check_names(spec: JobSpec, resolve: Resolve) -> None:
    """Look up the hosts of the webhooks of *spec*, and check that their addresses are allowed.

    Raises:
        Invalid: as for `receiver`; the field is, for example, ``webhooks.0.url``.
    """
    guard = spec_guard(spec)
    for number, webhook in enumerate(spec.webhooks):
        try:
            await receiver(webhook.url, guard, resolve)
        except Invalid as error:
            raise _prefix_field(number, error) from None


def _prefix_field(number: int, fault: Invalid) -> Invalid:
    return Invalid(f"webhooks.{number}.{fault.field}", fault.message)


def _check_webhook(webhook: JobWebhook, guard: Guard) -> JobWebhook:
    check_all(
        partial(_check_events, webhook),
        *(partial(_check_header, name, value) for name, value in webhook.headers.items()),
        lambda: check_secret(webhook.secret) if webhook.secret else None,
        partial(check_metadata, webhook.metadata),
        lambda: _check_url(webhook.url, guard),
    )
    return replace(webhook, url=_plain_url(webhook.url), secret=webhook.secret or new_secret())


def _check_events(webhook: JobWebhook) -> None:
    if webhook.pages and webhook.format not in PAGE_FORMATS:
        formats = " or ".join(PAGE_FORMATS)
        raise Invalid("pages", f"expected format {formats}, got {webhook.format}")
    if webhook.events or not webhook.pages:
        check_patterns(webhook.events, kinds=OF_A_JOB)


_OF_MESSAGES = frozenset({"content-type", "user-agent", "x-firecrawl-signature"})


def _check_header(name: str, value: str) -> None:
    if name.lower() in _OF_MESSAGES or name.lower().startswith("webhook-"):
        raise Invalid("headers", f"{name} is set by Crawlyard")
    check_header(name, value)


def _check_url(url: str, guard: Guard) -> None:
    url = _plain_url(url)
    address = address_in(hostname_of(url))
    if address:
        _check(url, address, guard)
    elif not guard.opens(hostname_of(url), _NOWHERE, port_of(url)):
        _check_https(url)


_NOWHERE = "0.0.0.0"  # noqa: S104 - nothing listens here: it stands for an unknown address


def _plain_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        named = parts.username or parts.password
    except ValueError:
        named = None  # `canonical` reports what is wrong
    if named:
        raise Invalid(
            "url", "expected no user name or password: the signature authenticates messages"
        )
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
        raise Invalid("url", f"expected https://{host}…; http needs allow_addresses={host}")
