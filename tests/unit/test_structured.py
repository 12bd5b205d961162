"""JSON-LD and Open Graph of a page, and values of --extract that come from them."""

import json
from typing import Any

import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import (
    Extracted,
    ExtractOptions,
    PageSource,
    extract,
)
from crawlyard.engine.extract.selectors import check_extract_options
from crawlyard.engine.extract.structured import MAX_SIZE
from crawlyard.errors import Invalid


def read(html: str, *, language: str = "", **css: str) -> Extracted:
    options = ExtractOptions(TextMode.MARKDOWN, tuple(css.items()))
    source = PageSource(
        url="http://h.example/d/", charset="utf-8", language=language, options=options
    )
    return extract(html.encode(), source)


def ld(*items: Any) -> str:
    return "".join(f"<script type=application/ld+json>{json.dumps(i)}</script>" for i in items)


PRODUCT = {
    "@type": "Product",
    "name": "Lamp",
    "offers": [{"price": 12.5, "ok": True}, {"price": "13"}],
}


def test_json_ld_and_open_graph_are_kept() -> None:
    page = read(
        "<meta property=og:title content=Lamp><meta property=og:image content=1>"
        "<meta property=og:image content=2><meta name=twitter:card content=c>"
        "<meta name=viewport content=x>" + ld(PRODUCT, [{"@type": "Thing"}, 3], "text")
    )
    assert page.structured == {
        "jsonld": [PRODUCT, {"@type": "Thing"}],
        "opengraph": {"og:title": "Lamp", "og:image": ["1", "2"], "twitter:card": "c"},
    }


def test_a_page_without_them_has_nothing() -> None:
    assert read("<p>x").structured == {}


@pytest.mark.parametrize("text", ["{", "[" * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000, ""])
def test_what_is_no_json_is_left_out(text: str) -> None:
    html = f"<script type='application/ld+json'>{text}</script>"
    assert read(html + ld({"a": 1})).structured == {"jsonld": [{"a": 1}]}


def test_what_is_too_large_is_left_out() -> None:
    page = read(ld({"a": "x" * MAX_SIZE}) + "<meta property=og:title content=t>")
    assert page.structured == {}


def test_values_come_from_json_ld_by_their_path() -> None:
    page = read(
        ld({"@graph": [PRODUCT, {"name": None}]}),
        price="jsonld:offers.price",
        name="jsonld: name",
        offer="jsonld:offers.ok",
        none="jsonld:offers.nothing.more",
        kind="jsonld:@type",
    )
    assert page.extracted == {
        "price": ("12.5", "13"),
        "name": ("Lamp",),
        "offer": ("true",),
        "none": (),
        "kind": ("Product",),
    }


def test_a_path_must_be_given() -> None:
    with pytest.raises(Invalid, match=r"x: expected a path after jsonld:, such as jsonld:name"):
        check_extract_options(ExtractOptions(css=(("x", "jsonld: "),)))
    check_extract_options(ExtractOptions(css=(("x", "jsonld:name"),)))


def test_urls_are_absolute_and_scripts_are_none() -> None:
    page = read(
        "<a href='x#y'>1</a><a href='javascript:x'>2</a><img src=/p.png><a href=mailto:a@b>3</a>",
        links="a@href",
        images="img@src",
    )
    assert page.extracted == {
        "links": ("http://h.example/d/x#y", "mailto:a@b"),
        "images": ("http://h.example/p.png",),
    }


def test_extracted_code_keeps_its_lines() -> None:
    page = read("<pre>\na = 1 \n  b = 2\n</pre><div>c\n d</div>", code="pre", other="div")
    assert page.extracted == {"code": ("a = 1\n  b = 2",), "other": ("c d",)}


def test_a_title_that_is_not_there_is_found_elsewhere() -> None:
    for html, title in [
        ("<title> a </title><meta property=og:title content=b><h1>c</h1>", "a"),
        ("<title> </title><meta property=og:title content=b><h1>c</h1>", "b"),
        ("<meta name=og:title content=''><h1>c <b>d</b></h1><h1>e</h1>", "c d"),
        ("<p>f", ""),
    ]:
        assert read(html).title == title, html
    assert read("<meta property=og:description content=d>").description == "d"


def test_a_language_is_found_elsewhere() -> None:
    for html, header, lang in [
        ("<html lang=de><meta http-equiv=content-language content=en>", "fr", "de"),
        ("<meta http-equiv=content-language content=en>", "fr", "en"),
        ("<meta http-equiv=content-language content='en, de'>", "fr", "fr"),
        ("<meta property=og:locale content=pt_BR>", "", "pt-BR"),
        ("<meta property=og:locale content=pt_BR>", "en, fr", "pt-BR"),
        ("<p>x", "", ""),
    ]:
        assert read(html, language=header).lang == lang, html
