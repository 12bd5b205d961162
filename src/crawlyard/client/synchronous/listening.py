# made of asynchronous/listening.py by `python -m tests.sync_client`; a test compares it
"""One connection over which a server tells what happens."""

from collections.abc import Generator, Mapping

from crawlyard.client.following import SILENCE_S, STREAM, Unstreamed
from crawlyard.client.messages import Message
from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.synchronous.reading import media_type, messages


def listen(
    calls: Calls, path: str, params: Mapping[str, object], after: int | None
) -> Generator[Message]:
    """Yield the messages of one connection until it ends; *after* is the last id that is known.

    Raises:
        Unavailable: it broke off, or what answers cannot stream.
    """
    headers = {"Accept": STREAM}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    with calls.stream(path, params=params, headers=headers, silence_s=SILENCE_S) as answer:
        if media_type(answer) != STREAM:
            raise Unstreamed(f"{answer.request.url} answered with no stream of events")
        for message in messages(answer):
            yield message
