"""Every command of the command line is one documented endpoint of the API, or says why not."""

from collections.abc import Mapping

from crawlyard.web import by_hand
from tests import program

HERE: Mapping[str, str] = {
    "version": "of this program, not of a server",
    "work": "runs jobs on files or a database of its own",
    "serve": "is what makes the API",
    "demo": "serves a site and crawls it, without a yard",
    "logout": "forgets what this machine keeps",
    "api": "is any endpoint",
    **dict.fromkeys(
        ("db copy", "db backup", "db restore", "db upgrade", "db check", "db vacuum"),
        "works on a whole database, also one that no server could open",
    ),
    **dict.fromkeys(
        ("service install", "service uninstall"), "about units of this machine, not a server"
    ),
    "mcp": "serves an agent on stdin and stdout",
    "skill": "prints a file of the package",
    "webhooks verify": "checks a signature by a secret that stays here",
}
"""Commands without an endpoint, and why."""

ENDPOINTS: Mapping[str, str] = {
    "crawl": "POST /jobs",
    "check": "GET /jobs/{job_id}/check",
    "diff": "GET /jobs/{job_id}/diff/{other}",
    "events": "GET /events",
    "whoami": "GET /auth/me",
    "login": "GET /auth/me",
    "stats": "GET /stats",
    "pages": "GET /pages",
    "attention": "GET /attention",
    "health": "GET /readyz",
    "jobs list": "GET /jobs",
    "jobs show": "GET /jobs/{job_id}",
    "jobs watch": "GET /jobs/{job_id}",
    "jobs pause": "POST /jobs/{job_id}/pause",
    "jobs resume": "POST /jobs/{job_id}/resume",
    "jobs cancel": "POST /jobs/{job_id}/cancel",
    "jobs retry": "POST /jobs/{job_id}/retry",
    "jobs set": "PATCH /jobs/{job_id}",
    "jobs pages": "GET /jobs/{job_id}/pages",
    "jobs errors": "GET /jobs/{job_id}/errors",
    "jobs links": "GET /jobs/{job_id}/links",
    "jobs events": "GET /events",
    "jobs screenshot": "GET /jobs/{job_id}/pages/{page_id}/screenshot",
    "jobs export": "GET /jobs/{job_id}/export",
    "jobs frontier": "GET /jobs/{job_id}/frontier",
    "jobs shards": "GET /jobs/{job_id}/shards",
    "jobs log": "GET /jobs/{job_id}/log",
    "jobs config": "GET /jobs/{job_id}/config",
    "jobs why": "GET /jobs/{job_id}/why",
    "jobs exclude": "POST /jobs/{job_id}/exclusions",
    "jobs queue": "GET /jobs/queue",
    "jobs counts": "GET /jobs/counts",
    "jobs wait": "GET /jobs/{job_id}/wait",
    "jobs delete": "DELETE /jobs/{job_id}",
    "groups show": "GET /groups/{group_id}",
    "groups wait": "GET /groups/{group_id}/wait",
    "groups cancel": "POST /groups/{group_id}/cancel",
    "templates list": "GET /templates",
    "templates show": "GET /templates/{ref}",
    "templates create": "POST /templates",
    "templates edit": "PATCH /templates/{ref}",
    "templates validate": "POST /templates/validate",
    "templates render": "POST /templates/{ref}/render",
    "templates publish": "POST /templates/{ref}/publish",
    "templates unpublish": "POST /templates/{ref}/unpublish",
    "templates duplicate": "POST /templates/{ref}/duplicate",
    "templates versions": "GET /templates/{ref}/versions",
    "templates restore": "POST /templates/{ref}/versions/{version}/restore",
    "templates import": "POST /templates/import",
    "templates export": "GET /templates/{ref}/export",
    "templates delete": "DELETE /templates/{ref}",
    "schedules changes": "GET /schedules/{ref}/changes",
    "schedules explain": "POST /schedules/preview",
    "schedules list": "GET /schedules",
    "schedules show": "GET /schedules/{ref}",
    "schedules create": "POST /schedules",
    "schedules edit": "PATCH /schedules/{ref}",
    "schedules pause": "POST /schedules/{ref}/pause",
    "schedules resume": "POST /schedules/{ref}/resume",
    "schedules run": "POST /schedules/{ref}/run",
    "schedules runs": "GET /schedules/{ref}/runs",
    "schedules next": "GET /schedules/{ref}/next",
    "schedules backfill": "POST /schedules/{ref}/backfill",
    "schedules calendar": "GET /schedules/calendar",
    "schedules delete": "DELETE /schedules/{ref}",
    "webhooks list": "GET /webhooks",
    "webhooks show": "GET /webhooks/{webhook_id}",
    "webhooks create": "POST /webhooks",
    "webhooks edit": "PATCH /webhooks/{webhook_id}",
    "webhooks test": "POST /webhooks/{webhook_id}/test",
    "webhooks deliveries": "GET /webhooks/{webhook_id}/deliveries",
    "webhooks replay": "POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    "webhooks rotate": "POST /webhooks/{webhook_id}/rotate",
    "webhooks enable": "POST /webhooks/{webhook_id}/enable",
    "webhooks disable": "POST /webhooks/{webhook_id}/disable",
    "webhooks delete": "DELETE /webhooks/{webhook_id}",
    "notifications list": "GET /notifications",
    "notifications show": "GET /notifications/{ref}",
    "notifications create": "POST /notifications",
    "notifications edit": "PATCH /notifications/{ref}",
    "notifications test": "POST /notifications/{ref}/test",
    "notifications deliveries": "GET /notifications/{ref}/deliveries",
    "notifications enable": "POST /notifications/{ref}/enable",
    "notifications disable": "POST /notifications/{ref}/disable",
    "notifications delete": "DELETE /notifications/{ref}",
    "workers list": "GET /workers",
    "workers show": "GET /workers/{worker_id}",
    "workers quiet": "POST /workers/{worker_id}/quiet",
    "workers resume": "POST /workers/{worker_id}/resume",
    "workers stop": "POST /workers/{worker_id}/stop",
    "workers forget": "DELETE /workers/{worker_id}",
    "hosts list": "GET /hosts",
    "hosts show": "GET /hosts/{host}",
    "hosts set": "PATCH /hosts/{host}",
    "hosts pause": "POST /hosts/{host}/pause",
    "hosts block": "POST /hosts/{host}/block",
    "hosts resume": "POST /hosts/{host}/resume",
    "hosts unset": "DELETE /hosts/{host}",
    "ops list": "GET /operations",
    "ops show": "GET /operations/{operation_id}",
    "ops cancel": "POST /operations/{operation_id}/cancel",
    "tokens list": "GET /tokens",
    "tokens create": "POST /tokens",
    "tokens revoke": "DELETE /tokens/{token_id}",
    "audit list": "GET /audit",
    "audit export": "GET /audit/export",
    "jobs share": "POST /shares",
    "shares list": "GET /shares",
    "shares show": "GET /shares/{share_id}",
    "shares revoke": "DELETE /shares/{share_id}",
    "triggers list": "GET /triggers",
    "triggers show": "GET /triggers/{trigger_id}",
    "triggers create": "POST /triggers",
    "triggers revoke": "DELETE /triggers/{trigger_id}",
    "users list": "GET /users",
    "users create": "POST /users",
    "users set": "PATCH /users/{user_id}",
    "users disable": "PATCH /users/{user_id}",
    "users enable": "PATCH /users/{user_id}",
    "sessions list": "GET /sessions",
    "sessions show": "GET /sessions/{name}",
    "sessions login": "PUT /sessions/{name}",
    "sessions delete": "DELETE /sessions/{name}",
    "settings grants": "PUT /settings/{section}",
}
"""The endpoint that does what a command is for, without the prefix."""


COMMANDS = {name: str(command.help) for name, command in program.COMMANDS.items()}


def routes() -> set[str]:
    return {f"{endpoint.method} {endpoint.path}" for endpoint in by_hand.ENDPOINTS}


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) == {*ENDPOINTS, *HERE}
    assert not set(ENDPOINTS) & set(HERE)


def test_every_row_has_a_route() -> None:
    assert set(ENDPOINTS.values()) - routes() == set()


def test_every_command_says_how_it_is_used() -> None:
    silent = [
        command
        for command, text in COMMANDS.items()
        if f"crawlyard {command}".split() != _first_example(text)[: len(command.split()) + 1]
    ]
    assert silent == []


def _first_example(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return next((line.split() for line in lines if line.startswith("crawlyard ")), [])
