"""Sites without an end: only a limit ends their crawl."""

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, page

ENDLESS = ("endless",)


def calendar(call: HazardRequest) -> Answer:
    year, month = (int(part) for part in call.path.removeprefix("/trap/calendar/").split("/"))
    months = [year * 12 + month - 1 + step for step in (-1, 1, 12)]
    links = [f"/trap/calendar/{m // 12}/{m % 12 + 1}" for m in months]
    return page(*links, title=f"Calendar {year}-{month}")


def path(call: HazardRequest) -> Answer:
    return page(f"{call.path}/a", f"{call.path}/b")


def relative(_: HazardRequest) -> Answer:
    return page("more/index.html", "again/")


def query(call: HazardRequest) -> Answer:
    return page(f"/trap/query?{call.query}&n={len(call.query)}")


def session(call: HazardRequest) -> Answer:
    turn = call.times
    return page(*(f"/trap/session?sid={turn:04x}{n}" for n in range(3)), title="The same page")


def facets(call: HazardRequest) -> Answer:
    chosen = dict(part.split("=") for part in call.query.split("&") if "=" in part)
    links = []
    for facet in ("colour", "size", "maker", "year", "shop", "sort"):
        for value in range(5):
            choice = {**chosen, facet: str(value)}
            links.append("/trap/facets?" + "&".join(f"{k}={v}" for k, v in choice.items()))
    return page(*links, title="One of 46,656 views of one list")


def slashes(call: HazardRequest) -> Answer:
    return page(f"{call.path}/", title="One slash more")


HAZARDS = (
    Hazard("/trap/calendar/*", calendar, ENDLESS, start="/trap/calendar/2026/6"),
    Hazard("/trap/path*", path, ENDLESS, start="/trap/path"),
    Hazard("/trap/relative/*", relative, ENDLESS, start="/trap/relative/"),
    Hazard("/trap/query", query, ENDLESS, start="/trap/query?n=0"),
    Hazard("/trap/session", session, ENDLESS, start="/trap/session?sid=0"),
    Hazard("/trap/facets", facets, ENDLESS, start="/trap/facets?colour=0"),
    Hazard("/trap/slashes/*", slashes, ENDLESS, start="/trap/slashes/"),
)
