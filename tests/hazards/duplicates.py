"""One page in many spellings, and pages that only look like one."""

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, html, page

ONE = "/dup/one?a=1"
"""The page that /dup/ names in many spellings: it must be asked for once."""

DISTINCT = (
    *("/dup/case", "/dup/Case", "/dup/CASE", "/dup/slash", "/dup/slash/", "/dup/slash//"),
    *("/dup/q?a=1&b=2", "/dup/q?b=2&a=1", "/dup/q?a=1", "/dup/q?a=1&a=1", "/dup/q?A=1", "/dup/q"),
    *("/dup/a/b", "/dup/a%2Fb", "/dup/p?x=a+b", "/dup/p?x=a%20b", "/dup/p?x=a%2Bb", "/dup/d;v=1"),
    *("/dup/d;v=2", "/dup/d", "/dup/index.html", "/dup/q?utm_source=x", "/dup/%C3%A9", "/dup/e"),
)
"""Pages of their own, each to be asked for exactly so."""


def spellings(host: str) -> tuple[str, ...]:
    """Return how `ONE` can be written in a page at /dup/; all are one URL (WHATWG)."""
    return (
        "/dup/one?a=1",
        "one?a=1",
        "./one?a=1",
        "../dup/one?a=1",
        "/dup/./one?a=1",
        "/dup/x/../one?a=1",
        "/dup/%2e/one?a=1",
        "/dup/x/%2E%2e/one?a=1",
        "/dup/x/.%2E/one?a=1",
        "/../../dup/one?a=1",
        "/dup/one?a=1#",
        "/dup/one?a=1#part",
        "/dup/one?a=1#!/route",
        "  /dup/one?a=1 ",
        "/dup/on\te?a=1",
        "/dup/one\n?a=1",
        "\\dup\\one?a=1",
        "/dup\\one?a=1",
        f"http://{host}/dup/one?a=1",
        f"HTTP://{host}/dup/one?a=1",
        f"http:\\\\{host}\\dup\\one?a=1",
        f"http:////{host}/dup/one?a=1",
        f"//{host}/dup/one?a=1",
        f"\\/{host}/dup/one?a=1",
        "http:one?a=1",
        "http:/dup/one?a=1",
    )


def start(call: HazardRequest) -> Answer:
    return page(*spellings(call.host), *DISTINCT, title="One page, many spellings")


def itself(call: HazardRequest) -> Answer:
    """Give a page whose title says by which spelling it came."""
    query = f"?{call.query}" if call.query else ""
    return html(f"<!doctype html><title>{call.path}{query}</title><p>A page.</p>")


HAZARDS = (
    Hazard("/dup/", start, ("page",), (ONE, *DISTINCT)),
    Hazard("/dup/*", itself, start="/dup/one?a=1"),
)
