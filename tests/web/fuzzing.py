"""Fuzzing: requests generated from the OpenAPI document."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.generation.case import Case
from schemathesis.python import asgi
from schemathesis.schemas import BaseSchema

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.answer import API as PREFIX
from crawlyard.services.surface import Surface
from crawlyard.store.store import Store
from crawlyard.web.site import SiteOptions
from tests.web.matrix import MAKERS
from tests.web.rig import Rig, a_rig

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Opener = Callable[[], Awaitable[Store]]

HOST = "testserver"  # schemathesis asks by that name

_ENDLESS = (
    "/events/stream",
    "/jobs/{job_id}/events/stream",
    "/jobs/{job_id}/log/stream",
    "/jobs/{job_id}/wait",
    "/groups/{group_id}/wait",
)
"""They answer when something happens, and here time stands still."""

PHASES = ("examples", "coverage", "fuzzing", "stateful")

PREVIEW = f"{PREFIX}/jobs/preview"
"""It asks hosts: what it is sent here must never be good enough to get that far."""

_REAL = 0.7
"""How often a parameter of a path is the id of something that is there."""

_REFUSED = (
    "400",
    "401",
    "403",
    "404",
    "405",
    "406",
    "409",
    "412",
    "415",
    "422",
    "428",
    "429",
    "431",
)

_CHECKS: Mapping[str, Any] = {
    # a cursor, a cron expression, a URL or a regular expression is more than its schema says
    "positive_data_acceptance": {"enabled": False},
    # `DELETE /jobs/counts` is that of a job of that name, which the document does not list
    "allow_header_conformance": {"enabled": False},
    # a version that cannot be answers 412, and a missing If-Match 428 (RFC 6585)
    "negative_data_rejection": {"expected-statuses": list(_REFUSED)},
    "missing_required_header": {"expected-statuses": ["400", "401", "403", "404", "422", "428"]},
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx"]},
}


@schemathesis.check
def every_error_is_a_problem(_ctx: CheckContext, answer: Response, _case: Case[Any]) -> bool | None:
    """Check that errors have one shape and the documented status."""
    if answer.status_code >= 400:
        kinds = answer.headers.get("content-type", [])
        assert kinds == ["application/problem+json"], f"an error is sent as {kinds}"
        assert answer.json()["status"] == answer.status_code
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """Outcome of a run."""

    failures: list[str]
    answers: Mapping[str, set[int]]  # statuses by operations: "GET /api/v1/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Phases of a run, and limits of the open-ended ones."""

    role: Role
    phases: frozenset[str]
    examples: int = 0  # of the phase "fuzzing", for each operation
    walks: int = 1  # of the phase "stateful", in all


def fuzzed(open_store: Opener, wish: Wish) -> Fuzzed:
    """Ask a server all sorts of things, as ada; the same each time.

    Beforehand there are things of ada's in it, of every kind.
    """
    served = _Served(open_store, wish.role)
    try:
        with asgi.get_client(served):
            whole = schemathesis.openapi.from_asgi(
                f"{PREFIX}/openapi.json", served, config=_config(served.ids, wish)
            )
            schema = whole.exclude(path=["/metrics", *(PREFIX + path for path in _ENDLESS)])
            _signs_in(schema, served)
            return _gathered(from_schema(schema).execute())
    finally:
        asgi.shutdown_lifespans()


class _Served:
    """The application, whose store is opened in the loop that it is asked in."""

    _rig: Rig
    _loop: asyncio.AbstractEventLoop

    def __init__(self, open_store: Opener, role: Role) -> None:
        self.ids: dict[str, list[str]] = defaultdict(list)  # by the names that paths give them
        self._open_store = open_store
        self._role = role

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        self._loop = asyncio.get_running_loop()
        self._rig = await self._furnished()
        self._app: Callable[[Message, Receive, Send], Awaitable[None]] = self._rig.app  # type: ignore[assignment] # a dict is all that it wants
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._rig.close()
        await self._rig.yard.store.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _furnished(self) -> Rig:
        options = SiteOptions(hosts=("127.0.0.1", HOST), rate_limits=False)
        rig = await a_rig(await self._open_store(), options)
        await rig.user("ada")
        for thing, make in MAKERS.items():
            for name, value in (await make(rig, thing == "template")).items():
                self.ids[name].append(value)
        await Surface(rig.yard.services, LOCAL).users.edit("ada", role=self._role)
        return rig

    def token(self) -> str:
        """Return the secret of a new token of ada's."""
        token_future = asyncio.run_coroutine_threadsafe(self._rig.token("ada"), self._loop)
        return token_future.result(timeout=30)


def _gathered(happened: Iterable[events.EngineEvent]) -> Fuzzed:
    failures: dict[tuple[object, ...], str] = {}
    answers: dict[str, set[int]] = defaultdict(set)
    for event in happened:
        if isinstance(event, events.NonFatalError):
            failures[event.label, str(event.value)] = f"{event.label}: {event.value}"
        if not isinstance(event, events.ScenarioFinished):
            continue
        for case_id, sent in event.recorder.interactions.items():
            if sent.response is not None:
                label = event.recorder.cases[case_id].value.operation.label
                answers[label].add(sent.response.status_code)
        for check in (check_ for checks in event.recorder.checks.values() for check_ in checks):
            if (info := check.failure_info) is not None:
                key = (check.name, info.failure.operation, info.failure.title)
                message = f"{check.name}, {info.failure.operation}: {info.failure.message}"
                failures.setdefault(key, f"{message[:1000]}\n{info.code_sample[:1000]}\n")
    return Fuzzed(failures=list(failures.values()), answers=answers)


def _signs_in(schema: BaseSchema, served: _Served) -> None:
    @schema.auth(refresh_interval=None)
    class Token:
        """A new one for each request: one of the requests may revoke it."""

        def get(self, _case: Case[Any], _ctx: object) -> str:
            return served.token()

        def set(self, case: Case[Any], data: str, _ctx: object) -> None:
            case.headers["Authorization"] = f"Bearer {data}"


def _config(ids: Mapping[str, list[str]], wish: Wish) -> SchemathesisConfig:
    many = {"fuzzing": wish.examples, "stateful": wish.walks}
    phases: dict[str, dict[str, Any]] = {name: {"enabled": name in wish.phases} for name in PHASES}
    for name, most in many.items():
        phases[name] |= {"generation": {"max-examples": max(1, most)}}
    # of a query all is text, so that what it makes wrong there is often right
    phases["fuzzing"] |= {"checks": {"negative_data_rejection": {"enabled": False}}}
    return SchemathesisConfig.from_dict(
        {
            "seed": 4,
            "continue-on-failure": True,
            "generation": {
                "deterministic": True,
                "database": "none",
                "with-security-parameters": False,  # the cookie; `_signs_in` has the token
            },
            "phases": phases,
            "checks": dict(_CHECKS),
            "dictionaries": {name: {"values": sorted(set(values))} for name, values in ids.items()},
            "parameters": {
                f"path.{name}": {"dictionary": name, "probability": _REAL} for name in ids
            },
            "operations": [
                {
                    "include-path": PREVIEW,
                    "generation": {"mode": "negative"},
                    "phases": phases | {"examples": {"enabled": False}},
                },
                # a token that was revoked is shown as such, until it is swept
                {
                    "include-path": "/api/v1/tokens/{token_id}",
                    "checks": {"use_after_free": {"enabled": False}},
                },
            ],
        }
    )
