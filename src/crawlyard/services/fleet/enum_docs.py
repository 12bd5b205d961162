"""Enumerations of the API: each value with its meaning."""

import inspect
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache

from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Permit, Role
from crawlyard.core.crawl.page import ErrorKind, RuleKind, UrlOutcomeKind, Via
from crawlyard.core.event import EventName
from crawlyard.core.jobs.bulk import JobAction, RetryScope
from crawlyard.core.jobs.filter import FilterKey
from crawlyard.core.jobs.job import Source
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.core.jobs.spec import Priority, Scope, Strategy, TextMode
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.operation import OperationKind, OperationState
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    Misfire,
    Overlap,
    TickOutcome,
    TickReason,
)
from crawlyard.core.webhooks.webhook import DeliveryState

_LISTS: Mapping[str, type[Enum]] = {
    "states": State,
    "state_reasons": StateReason,
    "moves": Move,
    "wait_reasons": WaitReason,
    "priorities": Priority,
    "error_kinds": ErrorKind,
    "rule_kinds": RuleKind,
    "url_outcomes": UrlOutcomeKind,
    "found_via": Via,
    "events": EventName,
    "scopes": Scope,
    "strategies": Strategy,
    "text_modes": TextMode,
    "retry_reasons": RetryReason,
    "retry_scopes": RetryScope,
    "bulk_actions": JobAction,
    "overlaps": Overlap,
    "misfires": Misfire,
    "tick_outcomes": TickOutcome,
    "tick_reasons": TickReason,
    "delivery_states": DeliveryState,
    "operation_kinds": OperationKind,
    "operation_states": OperationState,
    "filter_keys": FilterKey,
    "origins": Source,
    "roles": Role,
    "permits": Permit,
    "settings_sections": SectionName,
}
_HELPS: Mapping[type[Enum], Mapping[str, str]] = {
    Overlap: {str(word): said for word, said in OVERLAP_HELP.items()},
    Misfire: {str(word): said for word, said in MISFIRE_HELP.items()},
}
_MEMBER = re.compile(r"^    ([A-Z0-9_]+) = .*?  # (.+)$", re.MULTILINE)


@cache
def glossary() -> Mapping[str, Mapping[str, str]]:
    """Return all enumerations: values in order, with meanings; empty if self-explanatory."""
    return {name: _words(closed) for name, closed in _LISTS.items()}


def _words(closed: type[Enum]) -> Mapping[str, str]:
    said = _comments(closed)
    helps = _HELPS.get(closed, {})
    return {str(word): helps.get(str(word), said.get(word.name, "")) for word in closed}


def _comments(closed: type[Enum]) -> Mapping[str, str]:
    """Return the trailing comment of each member, by name: the meaning is written only there."""
    try:
        return dict(_MEMBER.findall(inspect.getsource(closed)))
    except OSError:
        return {}  # installed without source code
