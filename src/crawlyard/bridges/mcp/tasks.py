"""Tasks: `start_crawl` returns one to clients that declare them; its id is that of the job."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
    TextContent,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from crawlyard.bridges.mcp.advice import explain
from crawlyard.bridges.mcp.answers import JobAnswer
from crawlyard.core.quantity import count_noun
from crawlyard.errors import CrawlyardError, IllegalMove

if TYPE_CHECKING:
    from crawlyard.api.surface import Surface
    from crawlyard.core.jobs.answers import JobOut

Yards = Callable[[ServerRequestContext[Any, Any]], AbstractAsyncContextManager["Surface"]]

EXTENSION = "io.modelcontextprotocol/tasks"

_VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)
_POLL_MS = 2_000
# a failed crawl is a result; the status `failed` is for requests that failed
_STATUS = {"completed": "completed", "failed": "completed", "cancelled": "cancelled"}


class TaskParams(RequestParams):
    """Parameters of all requests about a task."""

    task_id: str


class JobTasks(Extension):
    """Requests about tasks, answered from jobs: nothing about a task is stored."""

    identifier = EXTENSION

    def __init__(self, yards: Yards) -> None:
        self._yards = yards

    def methods(self) -> Sequence[MethodBinding]:
        """Return the handlers of the requests."""
        handlers = (
            ("tasks/get", self._get),
            ("tasks/update", self._update),
            ("tasks/cancel", self._cancel),
        )
        return [MethodBinding(name, TaskParams, handler, _VERSIONS) for name, handler in handlers]

    async def intercept_tool_call(
        self,
        params: CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
    ) -> HandlerResult:
        """Return the task of the started job, unless the job has ended already."""
        result = await call_next(ctx)
        if params.name != "start_crawl" or not _declared(ctx):
            return result
        if not isinstance(result, CallToolResult) or result.structured_content is None:
            return result  # refused, or a question
        job_id = result.structured_content["job_id"]
        async with self._yard(ctx) as yard:
            job = await yard.jobs.get(job_id)
        return result if job.state in _STATUS else _task(job) | {"resultType": "task"}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        require_client_extension(ctx, EXTENSION)
        async with self._yard(ctx) as yard:
            job = await yard.jobs.get(params.task_id)
        return _task(job)

    async def _update(
        self, ctx: ServerRequestContext[Any, Any], params: TaskParams
    ) -> HandlerResult:
        """Acknowledge responses to questions; a job never asks one."""
        await self._get(ctx, params)
        return {"resultType": "complete"}

    async def _cancel(
        self, ctx: ServerRequestContext[Any, Any], params: TaskParams
    ) -> HandlerResult:
        require_client_extension(ctx, EXTENSION)
        async with self._yard(ctx) as yard:
            with suppress(IllegalMove):  # it has ended, which a client that polls cannot rule out
                await yard.jobs.cancel(params.task_id)
        return {"resultType": "complete"}

    @asynccontextmanager
    async def _yard(self, ctx: ServerRequestContext[Any, Any]) -> AsyncIterator["Surface"]:
        try:
            async with self._yards(ctx) as yard:
                yield yard
        except CrawlyardError as error:
            raise MCPError(INVALID_PARAMS, explain(error)) from error


def _declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Return true if the client declared, with this request, that it takes tasks."""
    capabilities = ctx.session.client_capabilities
    extensions = (capabilities.extensions if capabilities else None) or {}
    return EXTENSION in extensions and ctx.protocol_version in _VERSIONS


def _progress_of(answer: JobAnswer) -> str:
    return f"{answer.state}, {count_noun(answer.pages, 'page')}. {answer.reason}".rstrip()


def _task(job: "JobOut") -> dict[str, Any]:
    """Return a job as a task, with the result of `start_crawl` once it has ended."""
    answer = JobAnswer.of(job)
    status = _STATUS.get(job.state, "working")
    task: dict[str, Any] = {
        "resultType": "complete",
        "taskId": job.id,
        "status": status,
        "statusMessage": answer.outcome or _progress_of(answer),
        "createdAt": job.created_at.isoformat(),
        "lastUpdatedAt": job.updated_at.isoformat(),
        "ttlMs": None,  # as long as the job
        "pollIntervalMs": _POLL_MS,
    }
    if status == "completed":
        result = CallToolResult(
            content=[TextContent(type="text", text=answer.model_dump_json())],
            structured_content=answer.model_dump(mode="json"),
        )
        task["result"] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    return task
