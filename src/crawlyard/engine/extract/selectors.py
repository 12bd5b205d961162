"""Checks of the CSS selectors of a job, each against an empty document."""

from functools import partial

import turbohtml

from crawlyard.core.fields import check_all
from crawlyard.engine.extract.page import ExtractOptions, parse_css
from crawlyard.engine.extract.structured import path_of
from crawlyard.errors import Invalid

MAX_IGNORED = 100  # characters of one selector, which is part of a page's content rule


def check_extract_options(options: ExtractOptions) -> None:
    """Check that every selector of *options* is valid.

    Raises:
        Invalid: a selector is malformed; the message quotes it and says why.
    """
    empty = turbohtml.parse("")
    check_all(
        *(partial(_check_extract, empty, name, value) for name, value in options.css),
        *(partial(_check_ignored, empty, css) for css in options.ignored),
        *(
            partial(_check_css, empty, css, "logged_out", "selector: ")
            for css in (options.session.selectors if options.session else ())
        ),
    )


def _check_extract(empty: turbohtml.Document, name: str, expression: str) -> None:
    path = path_of(expression)
    if path == "":
        raise Invalid("extract", f"{name}: expected a path after jsonld:, such as jsonld:name")
    if not path:
        css, _ = parse_css(expression)
        _check_css(empty, css, "extract", f"{name}: ")


def _check_ignored(empty: turbohtml.Document, css: str) -> None:
    if len(css) > MAX_IGNORED:
        message = f"expected at most {MAX_IGNORED} characters each, got {len(css)}"
        raise Invalid("ignore_css", message)
    _check_css(empty, css, "ignore_css")


def check_css(field: str, css: str) -> None:
    """Check a selector.

    Raises:
        Invalid: it is malformed; the message names *field*, quotes it and says why.
    """
    _check_css(turbohtml.parse(""), css, field)


def _check_css(empty: turbohtml.Document, css: str, field: str, where: str = "") -> None:
    try:
        empty.select(css)
    except ValueError as error:
        raise Invalid(field, f"{where}{css!r} is not a CSS selector: {error}") from None
