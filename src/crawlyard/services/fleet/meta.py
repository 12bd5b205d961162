"""What an instance says of itself: its version, its words, the forms that it takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crawlyard.about import VERSION
from crawlyard.core.answers.fleet.health import EnumsOut, MetaOut, SchemasOut
from crawlyard.core.endpoint import ANYBODY, endpoint, endpoints_of
from crawlyard.core.jobs.bulk import MOST_IDS
from crawlyard.core.jobs.spec import MAX_PATTERN, MAX_PATTERNS, MAX_SEEDS, MAX_URL, MAX_WEBHOOKS
from crawlyard.lazy import lazily
from crawlyard.services.access.views import MOST_VIEWS
from crawlyard.services.jobs.jobs import MOST_TESTED, Jobs
from crawlyard.services.noun import Noun
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.templates.templates import Templates
from crawlyard.services.webhooks.webhooks import Webhooks

if TYPE_CHECKING:
    from crawlyard.core import endpoint_schema
    from crawlyard.services.fleet import enum_docs
    from crawlyard.services.jobs import bulk, preview
else:  # few ask for what they know
    endpoint_schema = lazily("crawlyard.core.endpoint_schema")
    enum_docs = lazily("crawlyard.services.fleet.enum_docs")
    bulk = lazily("crawlyard.services.jobs.bulk")
    preview = lazily("crawlyard.services.jobs.preview")

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
    "job": _JOBS["create"],
    "template": endpoints_of(Templates)["create"],
    "schedule": endpoints_of(Schedules)["create"],
    "webhook": endpoints_of(Webhooks)["create"],
    "bulk": _JOBS["bulk"],
}


class Meta(Noun):
    """Tells the version of an instance, its words and its forms."""

    @endpoint("GET /meta", ANYBODY)
    async def get(self) -> MetaOut:
        """Return the version, what there is, and how much may be sent."""
        return MetaOut(
            version=VERSION,
            features=_FEATURES,
            limits=_limits(),
            user_agent=self._services.settings.user_agent,
        )

    @endpoint("GET /meta/enums", ANYBODY)
    async def enums(self) -> EnumsOut:
        """Return the closed lists of words: states, reasons, kinds of errors, events, policies."""
        return EnumsOut(enums=enum_docs.glossary())

    @endpoint("GET /meta/schemas", ANYBODY)
    async def schemas(self) -> SchemasOut:
        """Return JSON Schemas of the forms: of a job, a template, a schedule, a webhook, bulk."""
        found = {name: endpoint_schema.body_schema(one) for name, one in _FORMS.items()}
        return SchemasOut(schemas=found)


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
