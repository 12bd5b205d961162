"""Upstream proxies as a spec names them."""

from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about

ProxyURLs: TypeAlias = Annotated[
    tuple[str, ...],
    about(
        "proxies that all requests go through; none is sent directly",
        help="Send all requests through this proxy: http://HOST:PORT or socks5://HOST:PORT. "
        "Repeatable.",
        panel=Panel.ACCESS,
        flag="--proxy",
        metavar="URL",
        of="URLs of proxies",
        longest=100,
        secret=True,
    ),
]
