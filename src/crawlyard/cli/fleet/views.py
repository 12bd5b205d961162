"""How workers and hosts are shown to people."""

from datetime import datetime
from typing import Any

from crawlyard.cli.overview.watch_reports import facts_of
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import Facts
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.watch import HostOut, HostRuleOut, WorkerOut


def workers_view(now: datetime) -> View[WorkerOut]:
    """Return how workers are listed."""
    return View(
        key=lambda worker: worker.id,
        columns=(
            Column(name="STATE", value=lambda w: w.state),
            Column(name="ID", value=lambda w: w.id, wide=True),
            Column(name="HOST", value=lambda w: w.host, least=110),
            Column(name="PID", value=lambda w: w.pid, right=True, least=120),
            Column(name="VERSION", value=lambda w: w.version, least=120),
            Column(name="JOBS", value=lambda w: f"{len(w.running)}/{w.slots}", right=True),
            Column(
                name="RATE",
                value=lambda w: f"{w.pages_per_s:.1f}",
                shown=lambda w: words.rate(w.pages_per_s) if w.pages_per_s else "",
                right=True,
            ),
            Column(
                name="CPU",
                value=lambda w: w.cpu,
                shown=lambda w: f"{w.cpu:.0%}" if w.cpu else "",
                right=True,
                least=110,
            ),
            Column(
                name="LOAD",
                value=lambda w: w.load,
                shown=lambda w: f"{w.load:.1f}" if w.load else "",
                right=True,
                least=110,
            ),
            Column(
                name="MEMORY",
                value=lambda w: w.memory_bytes,
                shown=lambda w: words.amount(w.memory_bytes),
                right=True,
            ),
            Column(name="TAGS", value=lambda w: ",".join(w.tags), least=100),
            _instant("SEEN", "beat_at", now),
        ),
    )


def worker_facts(worker: WorkerOut) -> Facts:
    """Return what people read of a worker."""
    told = as_dict(worker, without={"alive", "quiet", "stopping"})
    return facts_of(told)


def hosts_view(now: datetime) -> View[HostOut]:
    """Return how hosts are listed."""
    return View(
        key=lambda host: host.host,
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
            _instant("HELD", "held_until", now),
            Column(name="RULE", value=lambda h: _rule(h.rule), least=100),
            Column(name="NOTE", value=lambda h: h.rule.note if h.rule else "", least=120),
        ),
    )


def host_facts(host: HostOut) -> Facts:
    """Return what people read of a host: what is done to it, then what is said of it."""
    facts = facts_of(as_dict(host, without={"rule", "version"}))
    if host.rule is None:
        return facts
    told = as_dict(host.rule, {"note", "updated_at", "updated_by"})
    return [*facts, ("rule", _rule(host.rule)), *facts_of(told)]


def _rule(rule: HostRuleOut | None) -> str:
    if rule is None:
        return ""
    delay = "" if rule.delay_s is None else f"{rule.delay_s:g} s apart at least"
    at_once = "" if rule.at_once is None else f"{rule.at_once} at once at most"
    return ", ".join(said for said in (delay, at_once) if said)


def _instant(name: str, field: str, now: datetime) -> Column[Any]:
    def shown(item: Any) -> str:
        at = getattr(item, field)
        return "" if at is None else words.clock(at, now)

    return Column(
        name=name,
        value=lambda item: as_dict(item, {field})[field],
        shown=shown,
    )
