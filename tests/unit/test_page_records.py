"""Exported records have the fields of the page's response class."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec.structs import replace

from crawlyard.core.answer import as_dict
from crawlyard.core.crawl.page import ErrorKind, Page, PageError
from crawlyard.core.crawl.page_answers import PageOut, record_of

PLAIN = Page(
    url="http://h/a",
    final_url="http://h/b",
    status=200,
    content_type="text/html",
    title="Größe",
    description="half \ud800 a character",
    lang="de",
    canonical="http://h/",
    depth=3,
    parent="http://h/",
    fetched_at=datetime(2026, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC),
    elapsed_ms=7,
    bytes=8,
    sha256="ab" * 32,
    etag='"e"',
    last_modified="Wed, 18 Nov 2026 10:36:52 GMT",
    links=9,
)
FULL = replace(
    PLAIN,
    parent=None,
    fetched_at=datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    extracted={"price\udfff": ("1", "2\ud800")},
    truncated="the body broke off",
    noindex=True,
    needs_scripts=True,
    error=PageError(kind=ErrorKind.HTTP_4XX, detail="answered 404"),
)
KEPT = {
    "text": "said \ud800",
    "html": "<p>ü\ud800",
    "headers": [["Server", "x"], ["Set-Cookie", "\udfff"]],
}


@pytest.mark.parametrize("page", [PLAIN, FULL])
@pytest.mark.parametrize("stored_text", [{}, {"text": ""}, KEPT])
def test_a_record_is_what_the_shape_of_the_page_says(
    page: Page, stored_text: dict[str, object]
) -> None:
    expected = as_dict(PageOut.of(page, **stored_text))
    record = record_of(page, stored_text)
    assert record == expected
    assert list(record) == list(expected)


def test_a_record_has_no_field_that_is_left_out() -> None:
    record = record_of(PLAIN, {}, {"html", "headers"})
    assert set(PageOut.__struct_fields__) - set(record) == {"html", "headers"}
