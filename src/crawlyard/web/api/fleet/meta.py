"""What a server says of itself: its version, its words, the forms that it takes."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from crawlyard.about import VERSION
from crawlyard.core.answers.fleet.meta import EnumsOut, MetaOut, SchemasOut
from crawlyard.core.endpoint import endpoints_of
from crawlyard.core.idempotency import REPLIES_LAST
from crawlyard.core.jobs.bulk import MOST_IDS
from crawlyard.core.jobs.spec import MAX_PATTERN, MAX_PATTERNS, MAX_SEEDS, MAX_URL, MAX_WEBHOOKS
from crawlyard.services.access.views import MOST_VIEWS
from crawlyard.services.fleet.enum_docs import glossary
from crawlyard.services.jobs.bulk import AT_ONCE
from crawlyard.services.jobs.jobs import MOST_TESTED, Jobs
from crawlyard.services.jobs.preview import LONGEST
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.web.asking import Anybody, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.openapi import body_schema
from crawlyard.web.paging import DEFAULT, MOST
from crawlyard.web.rates import PER_MINUTE
from crawlyard.web.routes import DEEPEST, Route
from crawlyard.web.wire.templates.template_asks import template_schema
from crawlyard.web.wire.webhooks.webhook_asks import WebhookAsk

_JOBS = endpoints_of(Jobs)
_SCHEDULES = endpoints_of(Schedules)

router = APIRouter(prefix="/meta", tags=["meta"], route_class=Route)

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


@router.get("", name="get", responses=problems(401))
async def meta(_caller: Anybody, site: SiteOf) -> MetaOut:
    """Return the version, what there is, and how much may be sent."""
    return MetaOut(
        version=VERSION,
        features=_FEATURES,
        limits=_limits(site.options.max_body_bytes, on=site.rates.on),
        user_agent=site.yard.settings.user_agent,
    )


@router.get("/enums", responses=problems(401))
async def enums(_caller: Anybody) -> EnumsOut:
    """Return the closed lists of words: states, reasons, kinds of errors, events, policies."""
    return EnumsOut(enums=glossary())


@router.get("/schemas", responses=problems(401))
async def schemas(_caller: Anybody) -> SchemasOut:
    """Return JSON Schemas of the forms: of a job, a template, a schedule, a webhook, bulk."""
    return SchemasOut(schemas=_schemas())


def _schemas() -> Mapping[str, Mapping[str, Any]]:
    return {
        "job": body_schema(_JOBS["create"]),
        "template": template_schema(),
        "schedule": body_schema(_SCHEDULES["create"]),
        "webhook": WebhookAsk.model_json_schema(),
        "bulk": body_schema(_JOBS["bulk"]),
    }


def _limits(max_body_bytes: int, *, on: bool) -> Mapping[str, int]:
    rates = {f"{bucket}_requests_per_minute": most for bucket, most in PER_MINUTE.items()}
    return {
        "body_bytes": max_body_bytes,
        "json_levels": DEEPEST,
        "page_items": MOST,
        "page_items_default": DEFAULT,
        "idempotency_key_kept_s": int(REPLIES_LAST.total_seconds()),
        "start_urls": MAX_SEEDS,
        "url_characters": MAX_URL,
        "patterns": MAX_PATTERNS,
        "pattern_characters": MAX_PATTERN,
        "job_webhooks": MAX_WEBHOOKS,
        "bulk_ids": MOST_IDS,
        "bulk_at_once": AT_ONCE,
        "preview_s": int(LONGEST.total_seconds()),
        "preview_test_urls": MOST_TESTED,
        "views": MOST_VIEWS,
        **(rates if on else {}),
    }
