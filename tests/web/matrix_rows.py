"""One row for each route, as `tests.web.matrix` explains."""

from tests.web.matrix import (
    HOOK,
    MISSING_ID,
    Row,
    Rule,
    admins,
    admins_of_any,
    anybody,
    changes,
    kept_wide,
    looks,
    makes,
    personal,
    signed_in,
    uses,
)
from tests.web.rig import URL

_PLAIN = {"name": "mine", "spec": {"urls": [URL]}}
_NIGHTLY = {"name": "mine", "when": "@daily", "overrides": {"urls": [URL]}}
_RANGE = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-01T01:00:00Z"}
_FILE = {"content": "name: mine\nspec: {urls: ['https://example.com/']}\n"}
_DESCRIBED = {"description": "x"}


def _row(
    name: str, rule: Rule, thing: str = "", body: object = None, query: str = "", **more: bool
) -> Row:
    method, _, path = name.partition(" ")
    return Row(method=method, path=path, rule=rule, thing=thing, body=body, query=query, **more)


ROWS: tuple[Row, ...] = (
    # --- beside the API
    _row("GET /healthz", anybody()),
    _row("GET /readyz", anybody()),
    _row("GET /problems/{kind}", anybody(), "problem"),
    _row("GET /metrics", admins()),
    # --- who asks
    _row("POST /auth/login", anybody(401), body={"code": "cyl_wrong"}),
    _row("POST /auth/logout", signed_in(204)),
    _row("GET /auth/me", signed_in()),
    _row("GET /users", signed_in()),
    _row("POST /users", admins(201), body={"id": "carl"}),
    _row("GET /users/{user_id}", looks(), "user"),
    _row("PATCH /users/{user_id}", admins(), "user", {"quota": {"running": 5}}),
    _row("GET /tokens", signed_in()),
    _row("POST /tokens", kept_wide(signed_in(201)), body={"name": "mine"}),
    _row("GET /tokens/{token_id}", looks(), "token"),
    _row("DELETE /tokens/{token_id}", looks(204), "token"),
    # --- jobs
    _row("GET /jobs", signed_in(), "job"),
    _row("POST /jobs", makes(), body={"urls": [URL]}),
    _row("GET /jobs/{job_id}", looks(), "job"),
    _row("POST /jobs/{job_id}/pause", changes(), "job"),
    _row("POST /jobs/{job_id}/cancel", changes(), "job"),
    _row("POST /jobs/{job_id}/resume", changes(), "paused job"),
    _row("POST /jobs/{job_id}/retry", changes(), "ended job"),
    _row("GET /jobs/{job_id}/log", looks(), "job"),
    _row("GET /jobs/{job_id}/log/stream", looks(), "job", streams=True),
    _row("GET /jobs/{job_id}/metrics", looks(), "job"),
    _row("GET /jobs/{job_id}/events/stream", looks(), "job", streams=True),
    _row("GET /jobs/counts", signed_in()),
    _row("POST /jobs/preview", makes(422), body={}),  # without a URL it asks nobody
    _row("POST /jobs/plan", makes(422), body={}),
    _row("GET /jobs/{job_id}/deletion", changes(200), "ended job"),
    _row("PATCH /jobs/{job_id}", changes(200), "job", {"name": "x"}),
    _row("DELETE /jobs/{job_id}", changes(204), "ended job"),
    _row("GET /jobs/{job_id}/progress", looks(), "job"),
    _row("GET /jobs/{job_id}/wait", looks(), "ended job"),
    _row("GET /jobs/{job_id}/config", looks(), "job"),
    _row("GET /jobs/{job_id}/attempts", looks(), "job"),
    _row("GET /jobs/{job_id}/shards", looks(), "job"),
    _row("GET /jobs/{job_id}/events", looks(), "job"),
    _row("GET /jobs/{job_id}/pages", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/pages/{page_id}", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/errors", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/errors/{kind}/pages", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/skipped", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/skipped/rules", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/frontier", looks(), "crawled job"),
    _row("GET /jobs/{job_id}/export", looks(), "crawled job"),
    _row("GET /pages", signed_in(), "crawled job"),
    _row("GET /pages/export", signed_in(), "crawled job"),
    _row("GET /jobs/{job_id}/why", looks(), "job", query=f"?url={URL}"),
    _row("POST /jobs/{job_id}/exclusions", changes(), "job", {"pattern": "*/print/*"}),
    _row("POST /jobs/batch", makes(200), body={"jobs": [{"urls": [URL]}]}),
    _row("POST /jobs/bulk", makes(200), body={"action": "pause", "ids": [MISSING_ID]}),
    _row("GET /operations", signed_in(), "operation"),
    _row("GET /operations/{operation_id}", looks(), "operation"),
    _row("POST /operations/{operation_id}/cancel", changes(), "operation"),
    # --- templates
    _row("GET /templates", signed_in(), "template"),
    _row("POST /templates", makes(), body=_PLAIN),
    _row("POST /templates/import", makes(), body=_FILE),
    _row("POST /templates/validate", signed_in(), body=_PLAIN),
    _row("GET /templates/{ref}", looks(), "template"),
    _row("PATCH /templates/{ref}", changes(200), "template", _DESCRIBED),
    _row("DELETE /templates/{ref}", changes(204), "template"),
    _row("GET /templates/{ref}/deletion", changes(200), "template"),
    _row("GET /templates/{ref}/versions", looks(), "template"),
    _row("GET /templates/{ref}/versions/{version}", looks(), "template"),
    # it is at that version already
    _row("POST /templates/{ref}/versions/{version}/restore", changes(200), "template"),
    _row("POST /templates/{ref}/publish", changes(202, public=200), "template"),
    _row("POST /templates/{ref}/unpublish", changes(200, public=202), "template"),
    _row("POST /templates/{ref}/duplicate", uses(), "template"),
    _row("POST /templates/{ref}/render", looks(), "template"),
    _row("GET /templates/{ref}/export", looks(), "template"),
    # --- schedules
    _row("GET /schedules", signed_in(), "schedule"),
    _row("POST /schedules", makes(), body=_NIGHTLY),
    _row("POST /schedules/preview", signed_in(), body={"when": "@daily"}),
    _row("GET /schedules/calendar", signed_in(), "schedule"),
    _row("GET /schedules/{ref}", looks(), "schedule"),
    _row("GET /schedules/{ref}/deletion", changes(200), "schedule"),
    _row("PATCH /schedules/{ref}", changes(200), "schedule", _DESCRIBED),
    _row("DELETE /schedules/{ref}", changes(204), "schedule"),
    _row("POST /schedules/{ref}/pause", changes(), "schedule"),
    _row("POST /schedules/{ref}/resume", changes(), "paused schedule"),
    _row("POST /schedules/{ref}/run", changes(201), "schedule"),
    _row("POST /schedules/{ref}/backfill", changes(200), "schedule", _RANGE),
    _row("GET /schedules/{ref}/runs", looks(), "schedule"),
    _row("GET /schedules/{ref}/next", looks(), "schedule"),
    # --- webhooks
    _row("GET /webhooks", signed_in(), "webhook"),
    _row("POST /webhooks", makes(), body={"url": HOOK}),
    _row("GET /webhooks/{webhook_id}", looks(), "webhook"),
    _row("PATCH /webhooks/{webhook_id}", changes(200), "webhook", _DESCRIBED),
    _row("DELETE /webhooks/{webhook_id}", changes(204), "webhook"),
    _row("GET /webhooks/{webhook_id}/deletion", changes(200), "webhook"),
    _row("POST /webhooks/{webhook_id}/test", changes(), "webhook"),
    _row("POST /webhooks/{webhook_id}/rotate", changes(), "webhook"),
    _row("POST /webhooks/{webhook_id}/enable", changes(200), "webhook"),  # it is on
    _row("POST /webhooks/{webhook_id}/disable", changes(), "webhook"),
    _row("GET /webhooks/{webhook_id}/deliveries", looks(), "webhook"),
    _row("POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay", changes(), "delivery"),
    # --- what goes on
    _row("GET /workers", signed_in(), "host"),
    _row("GET /workers/{worker_id}", signed_in(), "worker"),
    _row("DELETE /workers/{worker_id}", admins(204), "worker"),
    _row("POST /workers/{worker_id}/quiet", admins(202), "worker that is alive"),
    _row("POST /workers/{worker_id}/resume", admins(202), "quiet worker"),
    _row("POST /workers/{worker_id}/stop", admins(202), "worker that is alive"),
    _row("GET /hosts", signed_in(), "host"),
    _row("GET /hosts/{host}", looks(), "host"),
    _row("PATCH /hosts/{host}", admins_of_any(), "host", {"delay_s": 2}),
    _row("POST /hosts/{host}/pause", admins_of_any(), "host", {"note": "x"}),
    _row("POST /hosts/{host}/block", admins_of_any(), "host"),
    _row("POST /hosts/{host}/resume", admins(), "host"),
    _row("DELETE /hosts/{host}", admins(204), "host with a rule"),
    _row("GET /hosts/{host}/deletion", admins(), "host with a rule"),
    _row("GET /events", signed_in(), "template"),
    _row("GET /events/stream", signed_in(), streams=True),
    # --- what the dashboard needs
    _row("GET /docs", anybody()),
    _row("GET /docs.css", anybody()),
    _row("GET /views", signed_in(), "view"),
    _row("POST /views", kept_wide(signed_in(201)), body={"name": "{who}"}),
    _row("GET /views/{view_id}", personal(), "view"),
    _row("PATCH /views/{view_id}", kept_wide(personal()), "view", {"query": "state:paused"}),
    _row("DELETE /views/{view_id}", kept_wide(personal(204)), "view"),
    _row("GET /stats", signed_in()),
    _row("GET /attention", signed_in()),
    _row("GET /meta", signed_in()),
    _row("GET /meta/enums", signed_in()),
    _row("GET /meta/schemas", signed_in()),
    # --- settings
    _row("GET /settings", signed_in()),
    _row("GET /settings/{section}", signed_in(), "section"),
    _row("PUT /settings/{section}", admins(), "section", {}),
)
