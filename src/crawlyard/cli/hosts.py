"""`crawlyard hosts …`: the load on hosts, and the rules that limit it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.invoke import PlainCommands
from crawlyard.cli.options import Basics, Limit, Together, argument, group, option
from crawlyard.cli.render.output import Column, Facts, View, at, column, fields_of
from crawlyard.cli.stdin_args import read_ids
from crawlyard.lazy import lazily

# it loads the URL parser: 4 ms
with lazily():
    from crawlyard.engine import urls
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.hosts.answers import HostOut, HostRuleOut

app = group(
    """List hosts, and limit, pause or block the requests to them.

    crawlyard hosts list
    crawlyard hosts set example.org --delay 2 --per-host 1
    crawlyard hosts pause example.org --note 'Down until Friday'
    """
)

Host = Annotated[
    str,
    argument("HOST", "Host name, with its port if it is not the default."),
]
Hosts = Annotated[
    list[str],
    argument("HOST", "Host names, with ports that are not the default; '-' reads them from stdin."),
    Together(read_ids),
]
Delay = Annotated[
    object,
    option(
        values.ceiling(values.span_s), "--delay", "TIME", "Minimum time between requests, or none."
    ),
]
PerHost = Annotated[
    object,
    option(
        values.ceiling(values.count),
        "--per-host",
        "N",
        "Maximum number of concurrent requests, or none.",
    ),
]
Note = Annotated[str | None, option(str, "--note", "TEXT", "Reason, shown in lists.")]


def hosts_view(now: datetime) -> "View[HostOut]":
    """Return the columns of `hosts list` and the facts of `hosts show`."""
    return View(
        key=lambda host: host.host,
        more=_facts,
        columns=(
            column("STATE"),
            column("HOST", wide=True),
            Column(
                name="FLIGHT",
                value=lambda h: f"{h.in_flight}/{h.at_once}",
                shown=lambda h: f"{h.in_flight}/{h.at_once}" if h.at_once else "",
                right=True,
            ),
            Column(name="DELAY", value=lambda h: f"{h.delay_s:g}", right=True),
            column("REFUSALS", right=True),
            Column(name="JOBS", value=lambda h: len(h.jobs) + h.others, right=True),
            column("WAITING", right=True),
            at("HELD", "held_until", now),
            Column(name="RULE", value=lambda h: _rule(h.rule), least=100),
            Column(name="NOTE", value=lambda h: h.rule.note if h.rule else "", least=120),
        ),
    )


def _facts(host: "HostOut") -> Facts:
    """Return everything about a host: the load on it, then its rule."""
    facts = fields_of(host, without={"rule", "version"})
    if host.rule is None:
        return facts
    about = fields_of(host.rule, {"note", "updated_at", "updated_by"})
    return [*facts, ("rule", _rule(host.rule)), *about]


def _rule(rule: "HostRuleOut | None") -> str:
    if rule is None:
        return ""
    delay = "" if rule.delay_s is None else f"delay {rule.delay_s:g} s"
    at_once = "" if rule.at_once is None else f"at most {rule.at_once} at once"
    return ", ".join(limit for limit in (delay, at_once) if limit)


async def _parse_host(_: "Session", word: str) -> str:
    return urls.host_named(word)


plain = PlainCommands(app=app, noun="hosts", view=hosts_view, find=_parse_host)


@plain.list("no active hosts and no rules", first="first", empty=True)
def list_(*, limit: Limit = None) -> None:
    """List hosts that are being crawled or have a rule.

    crawlyard hosts list
    crawlyard hosts list -o csv
    """


@plain.show()
def show(host: Host) -> None:
    """Show the load on a host, and its rule.

    crawlyard hosts show docs.example.org
    """


@plain.change("set", creates=True, edits=True)
def set_(host: Hosts, *, delay_s: Delay = None, at_once: PerHost = None, note: Note = None) -> None:
    """Limit the requests of all jobs to a host; a job can still be slower.

    crawlyard hosts set example.org --delay 2
    crawlyard hosts set example.org --per-host 1 --note 'Their admin asked us to'
    crawlyard hosts set example.org --delay none

    Requires an admin. Applies from the next request on, even to running jobs.
    """


@plain.change("paused", creates=True)
def pause(host: Hosts, *, note: Note = None) -> None:
    """Stop requests to hosts until they are resumed; their URLs wait.

    crawlyard hosts pause example.org --note 'Down until Friday'
    """


@plain.change("blocked", creates=True)
def block(host: Hosts, *, note: Note = None) -> None:
    """Stop requests to hosts; their URLs are skipped, in running jobs as well.

    crawlyard hosts block ads.example.org
    """


@plain.change("resumed")
def resume(host: Hosts) -> None:
    """Allow requests to paused or blocked hosts again.

    crawlyard hosts resume example.org
    """


@plain.change("unset", basics=Basics)
def unset(host: Hosts) -> None:
    """Delete the rules of hosts: the settings of each job apply again.

    crawlyard hosts unset example.org
    """
