"""Watchers: the documents of a job over a WebSocket, as they come."""

import asyncio
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from crawlyard.api.near import NearSurface
from crawlyard.bridges.bridge import surface_of
from crawlyard.bridges.firecrawl.documents import documents_of
from crawlyard.bridges.firecrawl.jobs import cursor_after, job_of, status_of
from crawlyard.bridges.firecrawl.options import formats_in
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.errors import CrawlyardError

_EVERY_S = 1.0
"""Longest interval between reads of new documents."""

_ENDED = tuple(map(str, ENDED))

_log = logging.getLogger(__name__)


async def watch(websocket: WebSocket) -> None:
    """Send the documents of a job, the stored ones first, then its end; clients send nothing."""
    job = await job_of(websocket)
    # clients with a subprotocol, their key, disconnect unless it is returned
    await websocket.accept(next(iter(websocket.scope["subprotocols"]), None))
    sending = asyncio.create_task(_send_job(websocket, surface_of(websocket), job))
    try:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
    finally:
        sending.cancel()


async def _send_job(websocket: WebSocket, yard: NearSurface, job: JobOut) -> None:
    try:
        try:
            # a final state would end a client before it has read the documents
            await _send(websocket, "catchup", data=status_of(job) | {"status": "scraping"})
            await _send_documents(websocket, yard, job)
        except CrawlyardError as error:  # such as that the job was deleted
            await _send(websocket, "error", error=str(error))
        await websocket.close()
    except WebSocketDisconnect:
        pass
    except Exception:  # noqa: BLE001 - its client must not wait for what never comes
        _log.exception("a watcher of job %s has failed", job.id)
        await websocket.close(1011)


async def _send_documents(websocket: WebSocket, yard: NearSurface, job: JobOut) -> None:
    """Send the documents of a job until it has ended, and how it has."""
    formats, cursor = formats_in(job.spec.tags), None
    while True:
        documents, more = await documents_of(yard, job.id, formats, cursor)
        for document in documents:
            await _send(websocket, "document", data=document)
        cursor = cursor_after(documents, cursor)
        if more is not None:
            continue
        if job.state in ENDED:  # before its last documents were read
            break
        job = await yard.jobs.wait(job.id, timeout_s=_EVERY_S, states=_ENDED, without_worker=True)
    status = status_of(job)
    if job.state == State.FAILED:
        await _send(websocket, "error", error=status["error"])
    else:  # clients take any "done" for a completed job
        await _send(websocket, "done" if job.state == State.COMPLETED else "catchup", data=status)


async def _send(websocket: WebSocket, kind: str, **fields: Any) -> None:
    await websocket.send_json({"type": kind, **fields})
