"""Metadata of an instance: version, vocabulary and schemas."""

import inspect
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Literal

from crawlyard.about import VERSION
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Permit, Role
from crawlyard.core.crawl.page import ErrorKind, RuleKind, UrlOutcomeKind, Via
from crawlyard.core.endpoints.endpoint import ANYBODY, endpoint, endpoints_of
from crawlyard.core.events.event import EventName
from crawlyard.core.instance import EnumsOut, MetaOut, ReadyOut, SchemasOut
from crawlyard.core.jobs.filter import FilterKey
from crawlyard.core.jobs.job import Source
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.core.jobs.spec import (
    MAX_PATTERN,
    MAX_PATTERNS,
    MAX_SEEDS,
    MAX_URL,
    Priority,
    Scope,
    Strategy,
    TextMode,
)
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.operations.bulk import MOST_IDS, JobAction, RetryScope
from crawlyard.core.operations.operation import OperationKind, OperationState
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    Misfire,
    Overlap,
    TickOutcome,
    TickReason,
)
from crawlyard.core.webhooks.webhook import MAX_WEBHOOKS, DeliveryState
from crawlyard.lazy import lazily
from crawlyard.messaging.bus import BusReach
from crawlyard.services.access.views import MOST_VIEWS
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.jobs.parameters import MOST_TESTED
from crawlyard.services.noun import Noun
from crawlyard.services.operations import bulk
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.templates.templates import Templates
from crawlyard.services.webhooks.webhooks import Webhooks

# few requests need these
with lazily():
    from crawlyard.core.endpoints import schema as endpoint_schema
    from crawlyard.services.jobs import preview

_FEATURES = (
    "jobs",
    "bulk",
    "preview",
    "why",
    "exclusions",
    "templates",
    "schedules",
    "webhooks",
    "events",
    "live",
    "operations",
    "settings",
    "quotas",
    "views",
    "stats",
)
_JOBS = endpoints_of(Jobs)
_FORMS = {
    "job": _JOBS["_create"],
    "template": endpoints_of(Templates)["create"],
    "schedule": endpoints_of(Schedules)["_create"],
    "webhook": endpoints_of(Webhooks)["create"],
    "bulk": _JOBS["bulk"],
}


class Meta(Noun):
    """Returns the version of an instance, its vocabulary and its schemas."""

    @endpoint("GET /meta", ANYBODY)
    async def get(self) -> MetaOut:
        """Return the version, the available features, and the limits on requests."""
        return MetaOut(
            version=VERSION,
            features=_FEATURES,
            limits=_limits(),
            user_agent=self._services.settings.user_agent,
        )

    @endpoint("GET /meta/enums", ANYBODY)
    async def enums(self) -> EnumsOut:
        """Return the enumerations: states, reasons, error kinds, events, policies."""
        return EnumsOut(enums=glossary())

    @endpoint("GET /meta/schemas", ANYBODY)
    async def schemas(self) -> SchemasOut:
        """Return JSON Schemas of request bodies: job, template, schedule, webhook, bulk."""
        schemas = {name: endpoint_schema.body_schema(form) for name, form in _FORMS.items()}
        return SchemasOut(schemas=schemas)


def _limits() -> Mapping[str, int]:
    return {
        "start_urls": MAX_SEEDS,
        "url_characters": MAX_URL,
        "patterns": MAX_PATTERNS,
        "pattern_characters": MAX_PATTERN,
        "job_webhooks": MAX_WEBHOOKS,
        "bulk_ids": MOST_IDS,
        "bulk_at_once": bulk.AT_ONCE,
        "preview_s": int(preview.LONGEST.total_seconds()),
        "preview_test_urls": MOST_TESTED,
        "views": MOST_VIEWS,
    }


# --- whether it is ready

_REDIS: Mapping[BusReach, Literal["well", "away"] | None] = {
    BusReach.PROCESS: None,
    BusReach.YARD: "well",
    BusReach.AWAY: "away",
}


def ready(reach: BusReach) -> ReadyOut:
    """Return the readiness of an instance whose bus has this *reach*."""
    return ReadyOut(redis=_REDIS[reach])


# --- the closed lists of words

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
    Overlap: {str(word): meaning for word, meaning in OVERLAP_HELP.items()},
    Misfire: {str(word): meaning for word, meaning in MISFIRE_HELP.items()},
}
_MEMBER = re.compile(r"^    ([A-Z0-9_]+) = .*?  # (.+)$", re.MULTILINE)


@cache
def glossary() -> Mapping[str, Mapping[str, str]]:
    """Return all enumerations: values in order, with meanings; empty if self-explanatory."""
    return {name: _words(closed) for name, closed in _LISTS.items()}


def _words(closed: type[Enum]) -> Mapping[str, str]:
    comments = _comments(closed)
    helps = _HELPS.get(closed, {})
    return {str(word): helps.get(str(word), comments.get(word.name, "")) for word in closed}


def _comments(closed: type[Enum]) -> Mapping[str, str]:
    """Return the trailing comment of each member by name, the only place of its meaning."""
    try:
        return dict(_MEMBER.findall(inspect.getsource(closed)))
    except OSError:
        return {}  # installed without source code
