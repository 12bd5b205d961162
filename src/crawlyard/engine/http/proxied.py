"""Proxied connector: opens the connections of a job through its proxies, and none past them."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from crawlyard.engine.http.connect import AddrInfo, Connector, allowed
from crawlyard.engine.http.connection import HttpConnection
from crawlyard.engine.http.dns import Crowded
from crawlyard.engine.http.fetch import FetchFailed, NotSent, plain
from crawlyard.engine.http.guard import BlockedAddress
from crawlyard.engine.http.proxy import Proxies, Proxy, check_address
from crawlyard.engine.http.tunnel import NoTunnel, ProxyFailed, open_tunnel
from crawlyard.engine.urls import hostname_of, origin_of

_LONGEST_S = 10.0  # to connect to a proxy, and again until it has connected further
_PART = 3  # of the time of a request: others can still be tried after one that is silent
_MOST_TARGETS = 3  # addresses of a name that one proxy is asked for


class ProxiedConnector:
    """Opens tunnels; *timeout_s* is the time of a whole request.

    Names are looked up here, and the guard of *connector* judges the addresses that proxies are
    asked for. There is no direct way: without a proxy that works, nothing is sent.
    """

    def __init__(self, connector: Connector, proxies: Proxies, timeout_s: float) -> None:
        self._connector = connector
        self._proxies = proxies
        self._within_s = min(_LONGEST_S, timeout_s / _PART)

    def place(self, url: str) -> str:
        """Return the key of the connections that a request for *url* can use."""
        proxy = self._proxies.chosen(hostname_of(url))
        return "" if proxy is None else _place(url, proxy)

    async def dial(self, url: str, make: Callable[[], HttpConnection]) -> HttpConnection:
        """Open a connection to the server of a canonical *url* through the first proxy that can.

        Raises:
            NotSent: all of them rest.
            ProxyFailed, NoTunnel: those that were tried failed, or did not connect.
            FetchFailed, Crowded, BlockedAddress, OSError, RuntimeError: as for `Connector.dial`.
        """
        targets = await self._connector.targets(url)
        targets.sort(key=lambda info: info[0] == socket.AF_INET6)  # not all proxies have IPv6
        failure: OSError | None = None
        refusing: list[Proxy] = []
        silent: list[Proxy] = []
        host = hostname_of(url)
        for proxy in self._proxies.ranked(host):
            with self._proxies.tried(proxy):
                try:
                    connected = await self._tunnel(proxy, targets[:_MOST_TARGETS])
                except ProxyFailed as error:
                    self._proxies.failed(proxy, str(error))
                    failure = ProxyFailed(f"proxy {proxy.label}: {error}")
                except NoTunnel as error:
                    self._proxies.works(proxy)
                    refusing.append(proxy)
                    failure = NoTunnel(f"proxy {proxy.label}: {error}")
                except TimeoutError:
                    # the proxy, or the server that it tries to reach: another proxy may tell
                    silent.append(proxy)
                    self._proxies.silent(proxy, host)
                    failure = NoTunnel(f"proxy {proxy.label}: it did not answer in time")
                else:
                    self._proxies.opened(proxy)
                    self._proxies.avoid(host, refusing)
                    for other in silent:
                        self._proxies.failed(other, "it did not answer in time, another one did")
                    return await self._over(connected, url, proxy, make())
        if failure is None:
            raise NotSent(f"no proxy can be used, for another {self._proxies.rest_s:.0f} s")
        raise failure

    async def _tunnel(self, proxy: Proxy, targets: list[AddrInfo]) -> socket.socket:
        """Return a socket that leads to the first of *targets* that *proxy* connects to.

        Raises:
            ProxyFailed, NoTunnel: see there.
            TimeoutError: the proxy did not say in time whether it can connect.
        """
        refusal: NoTunnel | None = None
        for *_, target in targets:
            address, port = str(target[0]), int(target[1])
            connected = await self._connected(proxy)
            try:
                await open_tunnel(connected, proxy, address, port, self._within_s)
            except NoTunnel as error:
                connected.close()
                refusal = NoTunnel(f"it did not connect to {address}: {error}")
            except TimeoutError:
                connected.close()
                raise
            except OSError as error:
                connected.close()
                raise ProxyFailed(plain(error)) from error
            except BaseException:
                connected.close()
                raise
            else:
                return connected
        raise refusal or NoTunnel("it was asked for no address")

    async def _connected(self, proxy: Proxy) -> socket.socket:
        """Return a socket that is connected to *proxy*."""
        check = partial(check_address, self._proxies.guard, proxy)
        try:
            infos = allowed(await self._connector.addresses(proxy.host, proxy.port), check)
            async with asyncio.timeout(self._within_s):
                return await self._connector.connected(infos, check)
        except Crowded:
            raise
        except BlockedAddress as error:
            raise ProxyFailed(str(error)) from error
        except (FetchFailed, OSError, RuntimeError) as error:
            raise ProxyFailed(f"it is out of reach: {plain(error)}") from error

    async def _over(
        self, connected: socket.socket, url: str, proxy: Proxy, connection: HttpConnection
    ) -> HttpConnection:
        try:
            return await self._connector.over(connected, url, connection, _place(url, proxy))
        except OSError:  # the handshake with the server failed, which is not the proxy's fault
            connected.close()
            raise


def _place(url: str, proxy: Proxy) -> str:
    return f"{origin_of(url)} {proxy.label}"
