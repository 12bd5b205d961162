"""Words for the values of the API: labels of states, reasons and kinds of errors.

The filter, the command line, the dashboard and the reference all read these tables. JSON keeps
the values themselves. Words are in lower case, as within a sentence.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.crawl.page import ErrorKind, RuleKind
from crawlyard.core.jobs.lifecycle import STATE_WORDS, State, StateReason
from crawlyard.core.jobs.outcome import STOPPED
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.schedules.schedule import TickOutcome, TickReason

STATES: Mapping[str, str] = {
    State.PENDING: STATE_WORDS[State.PENDING],
    State.RUNNING: STATE_WORDS[State.RUNNING],
    State.PAUSED: STATE_WORDS[State.PAUSED],
    State.COMPLETED: STATE_WORDS[State.COMPLETED],
    STOPPED: "stopped early",
    State.FAILED: STATE_WORDS[State.FAILED],
    State.CANCELLED: STATE_WORDS[State.CANCELLED],
}

REASONS: Mapping[str, str] = {
    StateReason.WAITING_SLOT: "waiting for a free slot",
    StateReason.SCHEDULED: "waiting for its start time",
    StateReason.WAITING_RETRY: "waiting for its next attempt",
    StateReason.WAITING_QUOTA: "waiting for its owner's quota",
    StateReason.PREEMPTED: "its slot went to an urgent job",
    StateReason.WORKER_STOPPED: "its worker was shut down",
    StateReason.WORKER_LOST: "its worker was lost",
    StateReason.CRAWLING: "crawling",
    StateReason.BY_USER: "by a user",
    StateReason.BY_SCHEDULE: "replaced by the next run",
    StateReason.PAUSED_TOO_LONG: "paused for too long",
    StateReason.DISK_FULL: "no disk space left",
    StateReason.LOGGED_OUT: "logged out",
    StateReason.NOT_GRANTED: "no longer allowed by the settings",
    StateReason.EXHAUSTED: "every URL in scope was tried",
    StateReason.LIMIT_PAGES: "page limit",
    StateReason.LIMIT_BYTES: "data limit",
    StateReason.LIMIT_DURATION: "time limit",
    StateReason.LIMIT_ERRORS: "error limit",
    StateReason.LIMIT_RENDER: "rendering limit",
    StateReason.START_FAILED: "no start URL could be fetched",
    StateReason.NO_RENDERER: "no browser to render its pages",
    StateReason.INTERNAL_ERROR: "internal error",
}

WAITS: Mapping[str, str] = {
    WaitReason.DUE_TIME: "its start time",
    WaitReason.QUOTA: "its owner's quota",
    WaitReason.LEASE: "its last worker",
    WaitReason.NO_WORKER: "no worker",
    WaitReason.WORKER_TAGS: "a worker with its tags",
    WaitReason.SLOT: "a free slot",
    WaitReason.QUEUE: "its turn",
    WaitReason.HOST: "its hosts",
}

ERRORS: Mapping[str, str] = {
    ErrorKind.TIMEOUT: "timed out",
    ErrorKind.DNS: "host not found",
    ErrorKind.CONNECT: "host not reached",
    ErrorKind.TLS: "no trusted connection",
    ErrorKind.PROTOCOL: "not an HTTP response",
    ErrorKind.HTTP_4XX: "refused by the server (4xx)",
    ErrorKind.HTTP_5XX: "server error (5xx)",
    ErrorKind.RATE_LIMITED: "too many requests",
    ErrorKind.TOO_LARGE: "headers too large",
    ErrorKind.DECODE: "response not decodable",
    ErrorKind.ROBOTS: "no readable robots.txt",
    ErrorKind.BLOCKED_ADDRESS: "address not allowed",
    ErrorKind.PROXY: "no proxy connects",
    ErrorKind.BAD_REDIRECT: "redirect leads nowhere",
    ErrorKind.RENDER: "rendering failed",
    ErrorKind.UNREADABLE: "content not readable",
    ErrorKind.INTERNAL: "internal error",
}

RULES: Mapping[str, str] = {
    RuleKind.SCOPE: "out of scope",
    RuleKind.EXCLUDE: "excluded by a pattern",
    RuleKind.INCLUDE: "not in the included patterns",
    RuleKind.DEPTH: "too many links from a start URL",
    RuleKind.ROBOTS: "robots.txt",
    RuleKind.REDIRECT: "redirect",
    RuleKind.SITEMAP: "sitemap",
    RuleKind.HOST: "blocked host",
}

NOTICES: Mapping[str, str] = {
    Trouble.NO_WORKER: "no worker",
    Trouble.NO_WORKER_TAG: "no worker with its tags",
    Trouble.DISK_FULL: "disk nearly full",
    Trouble.JOB_DAMAGED: "damaged job",
    Trouble.SCHEDULE_OVERDUE: "overdue schedule",
    Trouble.SCHEDULE_PAUSED: "paused schedule",
    Trouble.RUNS_FAILING: "failing runs",
    Trouble.JOB_FAILED: "failed job",
    Trouble.JOB_PAUSED: "paused job",
    Trouble.LOGGED_OUT: "logged out",
    Trouble.HOST_REFUSING: "host refuses requests",
    Trouble.WEBHOOK_OFF: "webhook switched off",
    Trouble.WEBHOOK_FAILING: "failing webhook",
    Trouble.JOB_STOPPED: "job stopped early",
    Trouble.NEEDS_SCRIPTS: "pages need scripts",
}

OUTCOMES: Mapping[str, str] = {
    TickOutcome.RAN: "ran",
    TickOutcome.CAUGHT_UP: "ran late",
    TickOutcome.WAITING: "waiting",
    TickOutcome.SKIPPED: "skipped",
    TickOutcome.MISSED: "missed",
    TickOutcome.REPLACED: "replaced",
}

TICK_REASONS: Mapping[str, str] = {
    TickReason.ON_TIME: "on time",
    TickReason.BY_USER: "requested",
    TickReason.LATE: "late",
    TickReason.BACKFILL: "backfill",
    TickReason.OVERLAP: "another job was active",
    TickReason.PAUSED: "the schedule was paused",
    TickReason.QUOTA: "too many jobs waited",
    TickReason.REFUSED: "could not be submitted",
    TickReason.EXISTS: "a job has its unique key",
    TickReason.NO_RUNS: "no runs were left",
    TickReason.NO_SCHEDULER: "no scheduler was running",
}

TABLES: Mapping[str, Mapping[str, str]] = {
    "state": STATES,
    "reason": REASONS,
    "wait": WAITS,
    "error": ERRORS,
    "rule": RULES,
    "notice": NOTICES,
    "outcome": OUTCOMES,
    "tick": TICK_REASONS,
}
"""All of them, as the scripts of the dashboard import them."""


def format_phrase(value: str) -> str:
    """Return a value that is a plain phrase with spaces: "cancel previous"."""
    return value.replace("_", " ")


def rule_words(rule: str) -> str:
    """Return a rule that skipped a URL: "robots.txt: Disallow: /secret"."""
    kind, colon, detail = rule.partition(":")
    return f"{RULES.get(kind, kind)}{colon}{detail}"


def event_reason(data: Mapping[str, Any]) -> str:
    """Return why an event happened; for a schedule tick, its outcome first."""
    reason = data.get("reason") or ""
    outcome = data.get("outcome")
    if outcome:
        return f"{OUTCOMES.get(outcome, outcome)} ({TICK_REASONS.get(reason, reason)})"
    return REASONS.get(reason, reason)


def error_words(kind: str, status: int | None) -> str:
    """Return the error of a URL in words: "not found (404)", "host not reached"."""
    if kind in (ErrorKind.HTTP_4XX, ErrorKind.HTTP_5XX) and status in _PHRASES:
        return f"{_PHRASES[status]} ({status})"
    return ERRORS.get(kind, kind)


_PHRASES = {status.value: status.phrase.lower() for status in HTTPStatus}
