"""Redirects that lead far, nowhere, in circles, or where a crawl may not go."""

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, fixed, html, location, page

BAD = ("failed:bad_redirect",)
CIRCLE = ("failed:bad_redirect", "skipped")  # a hop to a known URL may end as a duplicate
KEPT_OUT = ("skipped",)


def chain(call: HazardRequest) -> Answer:
    """Count down: /redir/chain/5 has five hops before its page."""
    remaining = int(call.path.rpartition("/")[2])
    return (
        location(f"/redir/chain/{remaining - 1}")
        if remaining
        else page(title="The end of the chain")
    )


def long(call: HazardRequest) -> Answer:
    """Count down as `chain` does, without a page that anyone reaches in ten hops."""
    remaining = int(call.path.rpartition("/")[2])
    return (
        location(f"/redir/long/{remaining - 1}")
        if remaining
        else page(title="Past the limit of redirects")
    )


def loop(call: HazardRequest) -> Answer:
    return location("/redir/loop/b" if call.path.endswith("/a") else "/redir/loop/a")


def itself(call: HazardRequest) -> Answer:
    return location(call.path)


def ever_new(call: HazardRequest) -> Answer:
    return location(f"{call.path}x")


def to_other_host(call: HazardRequest) -> Answer:
    return location(f"http://{call.world.other}/from-redirect")


def to_other_closed(call: HazardRequest) -> Answer:
    return location(f"http://{call.world.other}/private/from-redirect")


def over_other_host(call: HazardRequest) -> Answer:
    """Lead to another host, which leads back if it is a `HazardSite`: a hop out of scope."""
    return location(f"http://{call.world.other}/hop?to=http://{call.host}/ok/via")


def absolute(call: HazardRequest) -> Answer:
    return location(f"http://{call.host}/found/redir/absolute", 301)


def scheme_relative(call: HazardRequest) -> Answer:
    return location(f"//{call.host}/found/redir/scheme-relative")


def refresh(content: str) -> Answer:
    return page(head=f'<meta http-equiv="Refresh" content="{content}">', title="Wait")


def _to(name: str, status: int = 302, spelled: str = "", target: str = "") -> Hazard:
    """Return a redirect that must arrive."""
    there = target or f"/found/redir/{name}"
    answer = location(spelled or there, status)
    return Hazard(f"/redir/{name}", fixed(answer), ("page",), (there,))


def _bad(name: str, answer: Answer, expected: tuple[str, ...] = BAD) -> Hazard:
    return Hazard(f"/redir/{name}", fixed(answer), expected)


def _meta(name: str, content: str, expected: tuple[str, ...], links: tuple[str, ...]) -> Hazard:
    return Hazard(f"/redir/{name}", fixed(refresh(content)), expected, links)


_BODY = html('<a href="/never/redir/body">here</a>').body

HAZARDS = (
    Hazard(
        "/redir/chain/*",
        chain,
        ("page",),
        tuple(f"/redir/chain/{n}" for n in range(5)),
        "The end of the chain",
        "/redir/chain/5",
    ),
    Hazard("/redir/long/*", long, BAD, start="/redir/long/60"),
    Hazard("/redir/loop/*", loop, CIRCLE, start="/redir/loop/a"),
    Hazard("/redir/self", itself, CIRCLE),
    Hazard("/redir/new/*", ever_new, BAD, start="/redir/new/x"),
    *(_to(str(status), status) for status in (301, 302, 303, 307, 308)),
    Hazard("/redir/absolute", absolute, ("page",), ("/found/redir/absolute",)),
    Hazard("/redir/scheme-relative", scheme_relative, ("page",), ("/found/redir/scheme-relative",)),
    Hazard(
        "/redir/relative", fixed(location("../found/redir/rel")), ("page",), ("/found/redir/rel",)
    ),
    _to("fragment", spelled="/found/redir/fragment#part"),
    _to("blank", spelled="  /found/redir/blank  "),
    _to("space", spelled="/found/redir/a space", target="/found/redir/a%20space"),
    _to("tab", spelled="/found/redir/t\tab", target="/found/redir/tab"),
    _to("utf8", spelled="/found/redir/caf\u00e9", target="/found/redir/caf%C3%A9"),
    _to("backslash", spelled="\\found\\redir\\backslash"),
    _to("dots", spelled="/x/%2e%2e/found/./redir/dots"),
    # the body of a redirect is not read and its links are not followed
    Hazard(
        "/redir/with-body",
        fixed(location("/found/redir/with-body", body=_BODY)),
        ("page",),
        ("/found/redir/with-body",),
    ),
    # Fetch follows 301, 302, 303, 307 and 308 only: these are answers like others
    _bad("300", location("/never/redir/300", 300), ("page", "failed:bad_redirect")),
    _bad("304", Answer(304), ("failed:bad_redirect", "failed:protocol", "page")),
    _bad("305", location("/never/redir/305", 305), ("page", "failed:bad_redirect")),
    _bad("no-location", Answer(302)),
    # an empty reference is the page itself
    _bad("empty", location(""), CIRCLE),
    _bad("two-locations", Answer(302, (("Location", "/never/1"), ("Location", "/never/2"))), ()),
    _bad("javascript", location("javascript:alert(1)"), ("failed:bad_redirect", "skipped")),
    _bad("file", location("file:///etc/passwd"), ("failed:bad_redirect", "skipped")),
    _bad("data", location("data:text/html,x"), ("failed:bad_redirect", "skipped")),
    _bad("ftp", location("ftp://127.0.0.1/x"), ("failed:bad_redirect", "skipped")),
    _bad("broken", location("http://[::1/"), ("failed:bad_redirect", "skipped")),
    _bad("bad-port", location("http://127.0.0.1:99999/"), ("failed:bad_redirect", "skipped")),
    _bad("to-private", location("/private/from-redirect"), KEPT_OUT),
    Hazard("/redir/to-other-host", to_other_host, KEPT_OUT),
    Hazard("/redir/to-other-closed", to_other_closed, KEPT_OUT),
    Hazard("/redir/over-other-host", over_other_host, KEPT_OUT),
    _meta("meta", "0; url=/found/redir/meta", ("page",), ("/found/redir/meta",)),
    _meta("meta-quoted", "1;URL='/found/redir/mq'", ("page",), ("/found/redir/mq",)),
    _meta("meta-comma", "0, /found/redir/mc", ("page",), ("/found/redir/mc",)),
    _meta("meta-self", "5", ("page",), ()),
    _meta("meta-private", "0; url=/private/from-meta", ("page",), ()),
)
