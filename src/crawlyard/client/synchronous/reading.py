# made of asynchronous/reading.py by `python -m tests.sync_client`; a test compares it
"""Answers that are read piece by piece: lines, and messages of server-sent events."""

from collections.abc import Generator, Mapping

import httpx

from crawlyard.client.messages import Message, Parser


def lines(answer: httpx.Response) -> Generator[bytes]:
    r"""Yield lines without their ends.

    Not httpx's own, which end at U+2028 and others that JSON may have in its texts.
    """
    parts: list[bytes] = []
    for chunk in answer.iter_bytes():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts)
            parts = [other]
    if any(parts):
        yield b"".join(parts)


def messages(answer: httpx.Response) -> Generator[Message]:
    """Yield the messages of a stream of server-sent events."""
    parser = Parser()
    for line in lines(answer):
        message = parser.line(line)
        if message is not None:
            yield message


def media_type(answer: httpx.Response) -> str:
    """Return what an answer is said to be, without parameters."""
    headers: Mapping[str, str] = answer.headers
    return headers.get("content-type", "").partition(";")[0].strip().lower()
