"""The answer that does not end by itself."""

from functools import partial

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from crawlyard.web.documenting import Responses
from crawlyard.web.live.hub import Hub
from crawlyard.web.live.stream import Stream

MEDIA_TYPE = "text/event-stream"

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather it first
}


def streamed(description: str) -> Responses:
    """Return what the document says of such an answer."""
    content = {MEDIA_TYPE: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}}


def latest(after: int | None, last_event_id: int | None) -> int | None:
    """Return where to go on: a browser that comes again repeats the URL of its first time."""
    return after if last_event_id is None else last_event_id


class EventStream(StreamingResponse):
    """What a stream is told, until it ends or its client is gone."""

    media_type = MEDIA_TYPE

    def __init__(self, hub: Hub, stream: Stream) -> None:
        super().__init__(hub.messages(stream), headers=_HEADERS)
        self._leave = partial(hub.leave, stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()
