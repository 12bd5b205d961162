"""Body text: the stored bodies of a page as readable text."""

import json
from collections.abc import Mapping, Sequence

from crawlyard.core.crawl.page import Body
from crawlyard.engine.extract.page import decoded
from crawlyard.engine.http.fetch import charset_of


def readable(bodies: Mapping[Body, bytes]) -> dict[str, object]:
    """Return the stored bodies of a page as JSON values: text, html, and headers as pairs.

    HTML is decoded as its headers declare, if they are among *bodies*, or as it declares itself.
    """
    told: dict[str, object] = {}
    if Body.TEXT in bodies:
        told["text"] = bodies[Body.TEXT].decode(errors="replace")
    if Body.HEADERS in bodies:
        told["headers"] = json.loads(bodies[Body.HEADERS])
    if Body.HTML in bodies:
        headers: Sequence[tuple[str, str]] = json.loads(bodies.get(Body.HEADERS, b"[]"))
        types = (value for name, value in headers if name.lower() == "content-type")
        told["html"] = decoded(bodies[Body.HTML], charset_of(next(types, "")))
    return told
