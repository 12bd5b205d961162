"""One connection over which a server tells what happens."""

from collections.abc import AsyncGenerator, Mapping

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.asynchronous.reading import media_type, messages
from crawlyard.client.following import SILENCE_S, STREAM, Unstreamed
from crawlyard.client.messages import Message


async def listen(
    calls: Calls, path: str, params: Mapping[str, object], after: int | None
) -> AsyncGenerator[Message]:
    """Yield the messages of one connection until it ends; *after* is the last id that is known.

    Raises:
        Unavailable: it broke off, or what answers cannot stream.
    """
    headers = {"Accept": STREAM}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with calls.stream(path, params=params, headers=headers, silence_s=SILENCE_S) as answer:
        if media_type(answer) != STREAM:
            raise Unstreamed(f"{answer.request.url} answered with no stream of events")
        async for message in messages(answer):
            yield message
