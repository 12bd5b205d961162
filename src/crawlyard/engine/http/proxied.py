"""Proxied connector: opens the connections of a job through its proxies only."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from crawlyard.engine.http.connect import AddrInfo, Connector, filter_allowed
from crawlyard.engine.http.connection import ClientConnection
from crawlyard.engine.http.dns import Crowded
from crawlyard.engine.http.fetch import FetchFailed, NotSent, plain
from crawlyard.engine.http.guard import BlockedAddress
from crawlyard.engine.http.proxy import Proxies, Proxy, check_address
from crawlyard.engine.http.tunnel import NoTunnel, ProxyFailed, open_tunnel
from crawlyard.engine.urls import hostname_of, origin_of

_LONGEST_S = 10.0  # to connect to a proxy, and again until it has connected to the target
_TIMEOUT_DIVISOR = 3  # a third of a request's time-out, which leaves time for other proxies
_MOST_TARGETS = 3  # addresses of a name that are tried per proxy


class ProxiedConnector:
    """Opens tunnels; *timeout_s* is the time of a whole request.

    Names are resolved here, and the guard of *connector* checks the addresses that proxies get.
    Without a working proxy, nothing is sent.
    """

    def __init__(self, connector: Connector, proxies: Proxies, timeout_s: float) -> None:
        self._connector = connector
        self._proxies = proxies
        self._timeout_s = min(_LONGEST_S, timeout_s / _TIMEOUT_DIVISOR)

    def pool_key(self, url: str) -> str:
        """Return the key of the connections that a request for *url* can use."""
        proxy = self._proxies.choose(hostname_of(url))
        return "" if proxy is None else _pool_key(url, proxy)

    async def dial(
        self, url: str, new_connection: Callable[[], ClientConnection]
    ) -> ClientConnection:
        """Open a connection to the server of a canonical *url* through the first usable proxy.

        Raises:
            NotSent: no proxy is usable now.
            ProxyFailed, NoTunnel: all usable proxies failed, or did not connect.
            FetchFailed, Crowded, BlockedAddress, OSError, RuntimeError: as for `Connector.dial`.
        """
        targets = await self._connector.targets(url)
        targets.sort(key=lambda info: info[0] == socket.AF_INET6)  # not all proxies have IPv6
        failure: OSError | None = None
        refusing_proxies: list[Proxy] = []
        silent_proxies: list[Proxy] = []
        host = hostname_of(url)
        for proxy in self._proxies.rank_for(host):
            with self._proxies.trial(proxy):
                try:
                    sock = await self._tunnel(proxy, targets[:_MOST_TARGETS])
                except ProxyFailed as error:
                    self._proxies.record_failure(proxy, str(error))
                    failure = ProxyFailed(f"proxy {proxy.label}: {error}")
                except NoTunnel as error:
                    self._proxies.record_response(proxy)
                    refusing_proxies.append(proxy)
                    failure = NoTunnel(f"proxy {proxy.label}: {error}")
                except TimeoutError:
                    # the fault of the proxy or of the server; another proxy may show which
                    silent_proxies.append(proxy)
                    self._proxies.record_silence(proxy, host)
                    failure = NoTunnel(f"proxy {proxy.label}: no response in time")
                else:
                    self._proxies.record_tunnel(proxy)
                    self._proxies.avoid(host, refusing_proxies)
                    for other in silent_proxies:
                        self._proxies.record_failure(
                            other, "no response in time; another proxy responded"
                        )
                    return await self._set_up(sock, url, proxy, new_connection())
        if failure is None:
            raise NotSent(f"no proxy is usable; next try in {self._proxies.rest_s:.0f} s")
        raise failure

    async def _tunnel(self, proxy: Proxy, targets: list[AddrInfo]) -> socket.socket:
        """Return a socket that leads to the first of *targets* that *proxy* connects to.

        Raises:
            ProxyFailed, NoTunnel: as for `open_tunnel`.
            TimeoutError: the proxy did not respond in time.
        """
        refusal: NoTunnel | None = None
        for *_, target in targets:
            address, port = str(target[0]), int(target[1])
            sock = await self._connect(proxy)
            try:
                await open_tunnel(sock, proxy, address, port, self._timeout_s)
            except NoTunnel as error:
                sock.close()
                refusal = NoTunnel(f"no connection to {address}: {error}")
            except TimeoutError:
                sock.close()
                raise
            except OSError as error:
                sock.close()
                raise ProxyFailed(plain(error)) from error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise refusal or NoTunnel("no address to connect to")

    async def _connect(self, proxy: Proxy) -> socket.socket:
        """Return a socket that is connected to *proxy*."""
        check = partial(check_address, self._proxies.guard, proxy)
        try:
            infos = filter_allowed(await self._connector.addresses(proxy.host, proxy.port), check)
            async with asyncio.timeout(self._timeout_s):
                return await self._connector.connect(infos, check)
        except Crowded:
            raise
        except BlockedAddress as error:
            raise ProxyFailed(str(error)) from error
        except (FetchFailed, OSError, RuntimeError) as error:
            raise ProxyFailed(f"unreachable: {plain(error)}") from error

    async def _set_up(
        self, sock: socket.socket, url: str, proxy: Proxy, connection: ClientConnection
    ) -> ClientConnection:
        try:
            return await self._connector.set_up(sock, url, connection, _pool_key(url, proxy))
        except OSError:  # the handshake with the server failed, which is not the proxy's fault
            sock.close()
            raise


def _pool_key(url: str, proxy: Proxy) -> str:
    return f"{origin_of(url)} {proxy.label}"
