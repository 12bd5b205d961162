"""Requests through reverse proxies: the address and the scheme of the client behind them.

Source: MDN, "X-Forwarded-For", sections "Parsing" and "Selecting an IP address".
"""

from collections.abc import Iterable, MutableMapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from starlette.datastructures import Headers

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_SCHEMES = frozenset({"http", "https"})


def networks_of(words: Iterable[str]) -> Networks:
    """Parse addresses and networks as in the setting `trusted_proxies`."""
    return tuple(ip_network(word) for word in words)


def with_client(
    scope: MutableMapping[str, Any], headers: Headers, trusted: Networks, public_url: str = ""
) -> MutableMapping[str, Any]:
    """Return *scope* with the client's address and scheme, if a *trusted* proxy sent it.

    A request for the host of *public_url* gets its scheme unless such a proxy sent another.
    """
    public_scheme, _, public_host = public_url.partition("://")
    if public_host and headers.get("host", "").lower() == public_host:
        scope = {**scope, "scheme": public_scheme}
    peer, port = scope.get("client") or ("", 0)
    if not trusted or not _is_trusted(peer, trusted):
        return scope
    client = address_behind(peer, headers.getlist("x-forwarded-for"), trusted)
    scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip().lower()
    return {
        **scope,
        "client": (client, port if client == peer else 0),
        "scheme": scheme if scheme in _SCHEMES else scope["scheme"],
    }


def address_behind(peer: str, forwarded: Sequence[str], trusted: Networks) -> str:
    """Return the right-most address of a chain that is not *trusted*; clients can forge the rest.

    *peer* is the last of the chain, *forwarded* the values of X-Forwarded-For before it. A value
    that is not an address ends the chain at the proxy that sent it.
    """
    client = peer
    for hop in reversed(",".join(forwarded).split(",")):
        address = _address(hop)
        if not address or not _is_trusted(client, trusted):
            break
        client = address
    return client


def _is_trusted(address: str, trusted: Networks) -> bool:
    plain = _address(address)
    return bool(plain) and any(ip_address(plain) in network for network in trusted)


def _address(hop: str) -> str:
    """Return the address of a hop in canonical form, without its port; empty if it is none."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
