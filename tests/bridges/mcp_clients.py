"""Clients of the tools for agents, made of the parts of the SDK."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp.types import CallToolResult, Request, Result

from crawlyard.bridges.mcp.tasks import EXTENSION, TaskParams
from crawlyard.bridges.mcp.tools import AgentTools
from crawlyard.services.surface import Surface

REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


def client_of(yard: Surface, mode: str = "auto", **options: Any) -> Client:
    """Return a client of a server in this process, which acts as the user of *yard*."""

    @asynccontextmanager
    async def yards(_: object) -> AsyncIterator[Surface]:
        yield yard

    return Client(AgentTools(yards).server(), mode=mode, **options)


def text_of(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if part.type == "text")


def structured(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, text_of(result)
    answer: dict[str, Any] = result.structured_content
    return answer


class Task(Result):
    """A task as `tasks/get` returns it."""

    result_type: str
    task_id: str
    status: str
    status_message: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int
    result: dict[str, Any] | None = None


class NewTask(Task):
    """A task as a tool call returns it."""

    result_type: Literal["task"]


class TaskRequest(Request[TaskParams, str]):
    name_param = "taskId"


async def send(session: ClientSession, method: str, task_id: str, kind: Any = Task) -> Any:
    """Send a request about a task, and return its result."""
    request = TaskRequest(method=method, params=TaskParams(task_id=task_id))
    return await session.send_request(request, kind)


class Tasks(ClientExtension):
    """A client that takes tasks, and polls each until it has ended."""

    identifier = EXTENSION

    def __init__(self) -> None:
        self.states: list[Task] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=NewTask, resolve=self._resolve)]

    async def _resolve(self, task: NewTask, context: ClaimContext) -> CallToolResult:
        self.states.append(task)
        while self.states[-1].status == "working":
            await asyncio.sleep(0.02)
            self.states.append(await send(context.session, "tasks/get", task.task_id))
        last = self.states[-1]
        if last.status != "completed":
            return CallToolResult(content=[], is_error=True)
        return CallToolResult.model_validate(last.result)
