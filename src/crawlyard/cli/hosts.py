"""`crawlyard hosts …`: what is done to hosts, and how they are to be asked."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.options import Basics, Limit, Together, group, option
from crawlyard.cli.render.output import Column, Facts, View, at, fields_of
from crawlyard.cli.stdin_args import read_ids
from crawlyard.core.endpoints.endpoint import every
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

with lazily():
    from crawlyard.engine import urls
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.hosts.answers import HostOut, HostRuleOut
    from crawlyard.services.hosts import HostChanges

app = group(
    """See what is done to hosts and for which jobs, and say how they are to be asked.

    crawlyard hosts list
    crawlyard hosts set example.org --delay 2 --per-host 1
    crawlyard hosts pause example.org --note 'Down until Friday'
    """
)

Host = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="With its port if it has one of its own.", show_default=False
    ),
]
Hosts = Annotated[
    list[str],
    typer.Argument(
        metavar="HOST",
        help="Hosts, with their ports if they have some of their own; '-' reads them from stdin.",
        show_default=False,
    ),
    Together(read_ids),
]
Delay = Annotated[
    object,
    option(
        values.none_or(values.duration),
        "--delay",
        "TIME",
        "At least between two requests, or none.",
    ),
]
PerHost = Annotated[
    object,
    option(values.none_or(values.count), "--per-host", "N", "At most at once, or none."),
]
Note = Annotated[str | None, option(str, "--note", "TEXT", "Why.")]


def hosts_view(now: datetime) -> "View[HostOut]":
    """Return how hosts are listed."""
    return View(
        key=lambda host: host.host,
        more=_facts,
        columns=(
            Column(name="STATE", value=lambda h: h.state),
            Column(name="HOST", value=lambda h: h.host, wide=True),
            Column(
                name="FLIGHT",
                value=lambda h: f"{h.in_flight}/{h.at_once}",
                shown=lambda h: f"{h.in_flight}/{h.at_once}" if h.at_once else "",
                right=True,
            ),
            Column(name="DELAY", value=lambda h: f"{h.delay_s:g}", right=True),
            Column(name="REFUSALS", value=lambda h: h.refusals, right=True),
            Column(name="JOBS", value=lambda h: len(h.jobs) + h.others, right=True),
            Column(name="WAITING", value=lambda h: h.waiting, right=True),
            at("HELD", "held_until", now),
            Column(name="RULE", value=lambda h: _rule(h.rule), least=100),
            Column(name="NOTE", value=lambda h: h.rule.note if h.rule else "", least=120),
        ),
    )


def _facts(host: "HostOut") -> Facts:
    """Return what there is to know of a host: what is done to it, then what is said of it."""
    facts = fields_of(host, without={"rule", "version"})
    if host.rule is None:
        return facts
    told = fields_of(host.rule, {"note", "updated_at", "updated_by"})
    return [*facts, ("rule", _rule(host.rule)), *told]


def _rule(rule: "HostRuleOut | None") -> str:
    if rule is None:
        return ""
    delay = "" if rule.delay_s is None else f"{rule.delay_s:g} s apart at least"
    at_once = "" if rule.at_once is None else f"{rule.at_once} at once at most"
    return ", ".join(said for said in (delay, at_once) if said)


@app.command("list")
@action(empty=True)
async def list_(session: "Session", *, limit: Limit = None) -> None:
    """List the hosts that are asked now, and those of which something is said.

    crawlyard hosts list
    crawlyard hosts list -o csv
    """
    found = every(session.surface.hosts.list, limit=session.most(limit))
    count = await session.listed(found, hosts_view(session.clock.now()))
    session.tell_rest(count, limit, "no host is asked now, and nothing is said of any")


@app.command()
@action()
async def show(session: "Session", host: Host) -> None:
    """Show what is done to one host, and what is said of it.

    crawlyard hosts show docs.example.org
    """
    found = await session.surface.hosts.get(urls.host_named(host))
    await session.show(found, hosts_view(session.clock.now()))


@app.command("set")
@action(creates=True, at_once="--per-host", host="HOST")
async def set_(
    session: "Session",
    hosts: Hosts,
    *,
    delay: Delay = None,
    per_host: PerHost = None,
    note: Note = None,
) -> int:
    """Say how gently all jobs together ask a host; they may be gentler still.

    crawlyard hosts set example.org --delay 2
    crawlyard hosts set example.org --per-host 1 --note 'Their admin asked us to'
    crawlyard hosts set example.org --delay none

    For admins. It holds from the next request on, for jobs that run as well.
    """
    changes = _changes(delay, per_host, note)
    if not changes:
        raise Invalid("hosts set", "expected something to say: --delay, --per-host or --note")
    return await _rule_each(session, hosts, partial(session.surface.hosts.set, **changes), "set")


@app.command()
@action(creates=True, host="HOST")
async def pause(session: "Session", hosts: Hosts, *, note: Note = None) -> int:
    """Let nobody ask hosts until they are resumed; their URLs wait.

    crawlyard hosts pause example.org --note 'Down until Friday'
    """
    act = partial(session.surface.hosts.pause, note=note)
    return await _rule_each(session, hosts, act, "paused")


@app.command()
@action(creates=True, host="HOST")
async def block(session: "Session", hosts: Hosts, *, note: Note = None) -> int:
    """Let nobody ask hosts; their URLs are skipped, in running jobs as well.

    crawlyard hosts block ads.example.org
    """
    act = partial(session.surface.hosts.block, note=note)
    return await _rule_each(session, hosts, act, "blocked")


@app.command()
@action(host="HOST")
async def resume(session: "Session", hosts: Hosts) -> int:
    """Let hosts be asked again that were paused or blocked.

    crawlyard hosts resume example.org
    """
    return await _rule_each(session, hosts, session.surface.hosts.resume, "resumed")


@app.command()
@action(basics=Basics, host="HOST")
async def unset(session: "Session", hosts: Hosts) -> int:
    """Forget what is said of hosts: they are asked as jobs wish.

    crawlyard hosts unset example.org
    """

    async def gone(host: str) -> str:
        await session.surface.hosts.unset(host)
        return f"unset: {host}"

    code, _ = await session.each(hosts, gone, str, find=_named)
    return code


async def _rule_each(
    session: "Session", hosts: Sequence[str], act: Callable[[str], Awaitable["HostOut"]], done: str
) -> int:
    """Act on the rules of hosts; then write what they are now, if that was asked for."""
    code, found = await session.each(hosts, act, lambda one: f"{done}: {one.host}", find=_named)
    if not code:
        await session.changed(found, hosts_view(session.clock.now()), one=len(hosts) == 1)
    return code


async def _named(word: str) -> str:
    return urls.host_named(word)


def _changes(delay: object, per_host: object, note: str | None) -> "HostChanges":
    """Return what was said, as the API writes it; ``None`` takes it away."""
    length = delay.total_seconds() if isinstance(delay, timedelta) else delay
    said = {"delay_s": length, "at_once": per_host, "note": note}
    changes = {n: None if v == values.NONE else v for n, v in said.items() if v is not None}
    return cast("HostChanges", changes)
