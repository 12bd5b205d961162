"""The answer that does not end by itself."""

from functools import partial

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from crawlyard.web.live.hub import Hub
from crawlyard.web.live.stream import Stream

MEDIA_TYPE = "text/event-stream"

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather it first
}


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
