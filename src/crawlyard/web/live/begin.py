"""Where a stream may begin so that it goes on from a list without a gap."""

from fastapi import Depends, Response

from crawlyard.web.asking import SiteOf

HEADER = "X-Event-Seq"


async def _tell_seq(response: Response, site: SiteOf) -> None:
    response.headers[HEADER] = str(await site.yard.store.events.last())


BEGINS_STREAM = Depends(_tell_seq)
"""For ``dependencies=`` of a list: read before the list is, its answers carry `HEADER`."""
