"""Lines of an export, as page records."""

import json

import httpx

from crawlyard.client.transport import shaped
from crawlyard.core.answers.jobs.jobs import PageOut

_LEFT_OUT = {"html": None, "headers": None}


def record(line: bytes, answer: httpx.Response) -> PageOut:
    """Return the page record in one line of JSON.

    Raises:
        Unavailable: there is none in it.
    """
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    whole = json.dumps(_LEFT_OUT | told) if isinstance(told, dict) else line
    return shaped(PageOut, whole, answer)
