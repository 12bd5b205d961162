"""Address guard: protects internal addresses, because users supply the URLs (SSRF).

Pure functions; the fetcher checks every connection with the address that it is about to use.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine import urls
from crawlyard.errors import Invalid

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Source: the IANA special-purpose address registries (RFC 6890 and its updates). Copied here
# because ipaddress.is_private misses some and differs between Python versions.
_CLOSED_V4 = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud host's own service"),  # Azure, on a public address
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved (6to4 relays)"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_CLOSED_V6 = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4 address in an obsolete form (IPv4-compatible)"),
        ("64:ff9b:1::/48", "of a local translator (NAT64)"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private (site-local)"),
        ("ff00::/8", "multicast"),
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")  # all allocated unicast addresses; the rest is refused
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address is the last 32 bits
_6TO4 = IPv6Network("2002::/16")  # RFC 3056: the IPv4 address follows the first 16 bits


class BlockedAddress(OSError):
    """Connecting to the address is not allowed; the message names it, its host and the reason.

    It is an OSError because it is raised where a connection would be opened.
    """


class _Opening(Struct, frozen=True):
    """Entry that allows a host by name or a network, on one port or on all."""

    host: str | None = None
    network: Network | None = None
    port: int | None = None

    def covers(self, host: str, address: Address, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        if self.network is not None:
            return address in self.network
        return host == self.host


class Guard:
    """Decides which connections are allowed.

    Each entry of *allow* allows exactly what it names: a host by its name in the URL
    (wherever it resolves to), or an address or CIDR network (whichever name resolves to it).
    With ``:PORT``, it allows only that port. IPv6 with a port is written ``[::1]:8080``.
    *allow_private* allows everything. *field* is what errors call *allow*.

    Raises:
        Invalid: an entry has none of these forms; the message quotes it.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        allow_private: bool = False,
        field: str = "allow_addresses",
    ) -> None:
        try:
            self._openings = tuple(_opening(entry) for entry in allow)
        except Invalid as error:
            raise Invalid(field, error.message) from None
        self._allow_private = allow_private

    def check(self, host: str, address: str, port: int) -> None:
        """Check that a URL with the host name *host* may connect to *address* on *port*.

        *host* is as returned by `urls.hostname_of`. A malformed address is refused.

        Raises:
            BlockedAddress: the connection is not allowed.
        """
        if self._allow_private:
            return
        try:
            parsed = _normalize(ip_address(address))
        except ValueError:
            raise BlockedAddress(f"{host}: {address!r} is not an IP address") from None
        why = _non_public_kind(parsed)
        if why is None or any(o.covers(host, parsed, port) for o in self._openings):
            return
        subject = address if host == address else f"{host} resolves to {address}, which"
        raise BlockedAddress(f"{subject} is {why}; allow it with allow_addresses={parsed}")

    def opens(self, host: str, address: str, port: int) -> bool:
        """Return whether an entry allows this address, public or not; see `check`."""
        parsed = _normalize(ip_address(address))
        return self._allow_private or any(o.covers(host, parsed, port) for o in self._openings)


def spec_guard(spec: JobSpec) -> Guard:
    """Return the guard for *spec*.

    Raises:
        Invalid: an entry of its *allow_addresses* is malformed.
    """
    return Guard(spec.allow_addresses, allow_private=spec.allow_private)


def _non_public_kind(address: Address) -> str | None:
    """Return the kind of an address that is not public, ``None`` if it is public."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _CLOSED_V4 if address in network), None)
    inner = _embedded(address)
    if inner is not None:
        why = _non_public_kind(inner)
        return why and f"a gateway to {inner}, which is {why}"
    why = next((why for network, why in _CLOSED_V6 if address in network), None)
    if why is None and address not in _PUBLIC_V6:
        return "reserved"
    return why


def _normalize(address: Address) -> Address:
    """Return an IPv4-mapped address (::ffff:a.b.c.d) as IPv4, and other IPv6 without its zone."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a gateway would forward to, ``None`` if there is none."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    return None


def _opening(entry: str) -> _Opening:
    name, port = _split(entry)
    try:
        network = ip_network(name)
    except ValueError as error:
        if "/" in name:
            raise _malformed_entry(entry, str(error)) from None
    else:
        return _Opening(network=_normalize_network(network), port=port)
    try:
        host = urls.hostname_of(urls.canonical(f"http://{name}/"))
    except Invalid:
        raise _malformed_entry(entry, "not a valid host name") from None
    try:  # 127.1 and 0x7f000001 are addresses too
        return _Opening(network=ip_network(host), port=port)
    except ValueError:
        return _Opening(host=host, port=port)


def _split(entry: str) -> tuple[str, int | None]:
    """Return the host or network of *entry*, without brackets, and its port."""
    text = entry.strip()
    name, colon, port = text.partition(":")
    if ":" in port and not text.startswith("["):
        name, colon = text, ""  # IPv6 without brackets has no port
    elif text.startswith("["):
        name, closing, rest = text[1:].partition("]")
        bits, colon, port = rest.partition(":")
        if not closing or ":" not in name or (bits and not bits.startswith("/")):
            raise _malformed_entry(entry, "brackets need an IPv6 address")
        name += bits
    if not name or any(c in name for c in "@?#\\*% \t") or name.startswith("/"):
        raise _malformed_entry(entry, "it has no host")
    if not colon:
        return name, None
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) <= 65_535):
        raise _malformed_entry(entry, f"{port!r} is not a port")
    return name, int(port)


def _normalize_network(network: Network) -> Network:
    """Return a network of IPv4-mapped addresses as IPv4, others unchanged."""
    mapped = network.network_address
    if isinstance(mapped, IPv6Address) and mapped.ipv4_mapped and network.prefixlen >= 96:
        return IPv4Network((int(mapped.ipv4_mapped), network.prefixlen - 96))
    return network


def _malformed_entry(entry: str, why: str) -> Invalid:
    return Invalid(
        "allow_addresses",
        f"expected HOST, IP or CIDR, optionally with :PORT, got {entry!r}: {why}",
    )
