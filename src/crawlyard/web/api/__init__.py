"""The routes, a module for each kind of thing."""

from crawlyard.web.api import (
    auth,
    bulk,
    events,
    health,
    inquiries,
    job_changes,
    job_export,
    job_lists,
    job_looks,
    job_pages,
    jobs,
    meta,
    operations,
    preview,
    reference,
    schedules,
    settings,
    stats,
    templates,
    tokens,
    users,
    views,
    watch,
    webhooks,
)

ROUTERS = (
    auth.router,
    users.router,
    tokens.router,
    job_lists.router,
    jobs.router,
    job_changes.router,
    job_looks.router,
    job_pages.router,
    job_export.router,
    templates.router,
    schedules.router,
    webhooks.router,
    watch.router,
    events.router,
    settings.router,
    inquiries.router,
    preview.router,
    bulk.router,
    operations.router,
    views.router,
    stats.router,
    meta.router,
    reference.router,
)
"""All routers, in the order of the document."""

ROOT = (health.root, watch.root)
"""Those that stand beside the API, at the root."""
