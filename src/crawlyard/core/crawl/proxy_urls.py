"""Upstream proxies as a spec names them."""

from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about

ProxyURLs: TypeAlias = Annotated[
    tuple[str, ...],
    about(
        "all requests go through one of them, and none directly",
        help="Through http:// or socks5://HOST:PORT only. Repeatable.",
        panel=Panel.ACCESS,
        flag="--proxy",
        metavar="URL",
        of="URLs of proxies",
        longest=100,
        secret=True,
    ),
]
