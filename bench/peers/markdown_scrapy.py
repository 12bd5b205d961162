# Scrapy is of the extra `bench`, trafilatura of none: type checks do without them.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""The tuned spider, with the main content of each page as Markdown by trafilatura."""

from collections.abc import Iterator

import trafilatura
from scrapy import Request
from scrapy.http import Response
from scrapy_tuned import Tuned


class Markdown(Tuned):
    """Yields the items of the tuned spider with their Markdown."""

    name = "markdown"

    def parse(self, response: Response, **_: object) -> Iterator[dict[str, object] | Request]:
        """Add the Markdown of a page to its item."""
        for result in super().parse(response):
            if isinstance(result, dict) and str(result["content_type"]).startswith("text/html"):
                result["markdown"] = trafilatura.extract(
                    response.body, url=response.url, output_format="markdown", include_links=True
                )
            yield result
