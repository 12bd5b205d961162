"""Markdown of main content: it keeps the visible text of the page, and adds nothing."""

from functools import reduce

import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import ExtractOptions, PageSource, extract

URL = "http://h.example/dir/page"


def markdown(html: str, mode: TextMode = TextMode.MARKDOWN) -> str:
    source = PageSource(url=URL, charset="utf-8", options=ExtractOptions(text=mode))
    return extract(f"<title>t</title><main>{html}</main>".encode(), source).text or ""


LISTING = "\n".join("x" * 21)

CASES = {
    "headings lose their permalinks": (
        '<h2 id=t>Title<a class=headerlink href="#t">¶</a></h2><h3><a href="#u">Under</a></h3>',
        "## Title\n\n### Under",
    ),
    "and those that have the URL of the page": (
        '<h2>V<a href="page#v">¶</a></h2><h3>W <a href="http://h.example/dir/page#w">#</a></h3>',
        "## V\n\n### W",
    ),
    "links are absolute": (
        '<a href="../x#y">x</a> <a href="?q=1">q</a> <img src="p.png" alt=P>',
        (
            "[x](http://h.example/x#y) [q](http://h.example/dir/page?q=1) "
            "![P](http://h.example/dir/p.png)"
        ),
    ),
    "passwords in links are not kept": (
        '<a href="http://me:secret@h.example/x#y">x</a>',
        "[x](http://h.example/x#y)",
    ),
    "a link that no browser follows is text": ('<a href="http://[">x</a>', "x"),
    "a link that runs a script is text": ('<a href="javascript:x()">click</a>', "click"),
    "an image that a script loads later is found": (
        '<img src="data:image/gif;base64,R0" data-src="/p.png" alt=P><img src="data:x">',
        "![P](http://h.example/p.png)",
    ),
    "links inside code stay": (
        '<code><a href="/s">str</a></code>, <code>dict[<a href="/i">int</a>]</code>',
        "[`str`](http://h.example/s), `dict[`[`int`](http://h.example/i)`]`",
    ),
    "code has its language, wherever the page names it": (
        (
            '<pre><code class="language-python">a = 1\n  b &lt; 2</code></pre>'
            '<div class="highlight-rust notranslate"><div><pre>fn x</pre></div></div>'
            '<pre class="brush: sql">SELECT</pre><pre data-lang=go>func</pre><pre>none</pre>'
        ),
        (
            "```python\na = 1\n  b < 2\n```\n\n```rust\nfn x\n```\n\n```sql\nSELECT\n```\n\n"
            "```go\nfunc\n```\n\n```\nnone\n```"
        ),
    ),
    "code keeps its line breaks": (
        "<pre>one<br>two</pre><p><code>three<br>four</code></p>",
        "```\none\ntwo\n```\n\n`three`  \n`four`",
    ),
    "tables are grids": (
        "<table><tr><th colspan=2>A<tr><td rowspan=2>1<td>2<tr><td>3</table>",
        "| A |  |\n| --- | --- |\n| 1 | 2 |\n|  | 3 |",
    ),
    "cells keep lines, lists and code": (
        "<table><tr><th>A<th>B<tr><td><code>a|b<br>c</code><td>of<ul><li>x<li>y</ul>z</table>",
        "| A | B |\n| --- | --- |\n| `a\\|b`<br>`c` | of<br>- x<br>- y<br>z |",
    ),
    "a table with blocks of code stays a table": (
        "<table><tr><th>A<th>B<tr><td>so:<pre>x|z\n\n y\n</pre>or<td>2</table>",
        "| A | B |\n| --- | --- |\n| so:<br>`x\\|z`<br>` y`<br>or | 2 |",
    ),
    "a table with a listing, or without a header, is taken apart": (
        (
            f"<table><tr><th>A<tr><td><pre>{LISTING}</pre></table>"
            "<table><tr><td><pre>1</pre><td><pre>y</pre></table>"
        ),
        f"A\n\n```\n{LISTING}\n```\n\n```\n1\n```\n\n```\ny\n```",
    ),
    "code of Doxygen is a block without its numbers": (
        (
            '<div class="fragment"><div class="line"><span class="lineno">    1</span>#if A</div>\n'
            '<div class="foldopen"><div class="line"><span class="lineno">  2</span>\u00a0</div>\n'
            '<div class="line">  <a href="/x">x</a>;</div>\n</div></div><p>after</p>'
        ),
        "```\n#if A\n\n  x;\n```\n\nafter",
    ),
    "a table for layout is none": (
        "<table role=presentation><tr><td>a<td>b</table><table><tr><td>c</table>",
        "a\n\nb\n\nc",
    ),
    "lists are nested": (
        "<ul><li>a<ul><li>b<ol><li>c<li>d</ol></ul><li>e</ul>",
        "- a\n  - b\n    1. c\n    2. d\n- e",
    ),
    "powers and indexes are marked": (
        "mc<sup>2</sup> H<sub>2</sub>O<sup> </sup>",
        "mc<sup>2</sup> H<sub>2</sub>O",
    ),
    "emphasis is marked, but for punctuation next to a letter outside": (
        "<p><b>Note:</b> x <i><b>a.</b></i></p><p>x<em>a.</em>b<strong>&nbsp;y</strong><b></b> z",
        "**Note:** x ***a.***\n\nx<em>a.</em>b **y** z",
    ),
    "there are no entities": ("a&nbsp;b &amp; c &lt; d &copy;", "a b & c < d ©"),
    "but those that the page writes about": ("<code>&amp;#160;</code>", "`&#160;`"),
    "words have nothing invisible in them": ("do\u00adcu\u200bment", "document"),
    "what is hidden is not there": (
        (
            "<p hidden>1</p><p style='display: none'>2</p><noscript>3</noscript><p>seen</p>"
            "<p style='DISPLAY:NONE'>5</p>"
            "<template>4</template><div role=tabpanel hidden>tab</div>"
        ),
        "seen\n\ntab",
    ),
    "a type stands apart from its name": (
        "<dl><dt>x<span class=classifier>int</span><dd>how many</dl>",
        "x : int\n\nhow many",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_markdown(name: str) -> None:
    html, expected = CASES[name]
    assert markdown(html) == expected


def test_words_are_not_joined_in_text() -> None:
    for html, expected in [
        ("<pre>npm i<br><span>npm t<br></span></pre>", "npm i\nnpm t"),
        ("<pre><code><div>one</div><div>two</div></code></pre>", "one\ntwo"),
        ("<table><tr><td>w<div>x</div>y<p>z</p><td>b<tr><td>1<td>2</table>", "w x y z b 1 2"),
    ]:
        assert " ".join(markdown(html, TextMode.MAIN).split()) == " ".join(expected.split()), html
    assert markdown("<pre>a<br>b</pre>", TextMode.MAIN) == "a\nb"


def test_the_whole_page_has_its_navigation_too_but_nothing_hidden() -> None:
    html = "<nav><a href=/a>A</a></nav><h1>H<a href='#h'>#</a></h1><p hidden>no</p><noscript>no"
    assert markdown(html, TextMode.PAGE_MARKDOWN) == "[A](http://h.example/a)\n\n# H"


def test_a_base_counts_for_links_in_text() -> None:
    html = "<base href='http://b.example/c/'><a href=x>x</a>"
    assert markdown(html) == "[x](http://b.example/c/x)"


@pytest.mark.parametrize(
    "cell", ["<td colspan=50 rowspan=50>x", "<tr><td colspan=1000000>x", "<td rowspan=65534>x"]
)
def test_spans_cannot_blow_a_table_up(cell: str) -> None:
    assert len(markdown("<table><tr>" + cell * 2_000 + "</table>")) < 100_000


NESTED = "<table><tr><td>in<td>" + "a" * 100 + "<tr><td>" * 30 + "</table>"


@pytest.mark.parametrize("mode", [TextMode.TEXT, TextMode.MAIN])
@pytest.mark.parametrize(
    "table",
    [
        "<table><tr>" + "<td>x" * 5_000 + "<tr><td>" * 2_500 + "</table>",  # wide and long
        "<table><tr>" + "<td>" * 5_000 + "<tr><td>" * 2_500 + "</table>",
        f"<table><tr><td>{'a' * 20_000}{'<tr><td>b' * 1_500}</table>",
        reduce(lambda inner, _: NESTED.replace("in", inner), range(5), "in"),
    ],
    ids=["wide", "empty", "a long cell", "tables in tables"],
)
def test_aligned_columns_cannot_blow_a_table_up(table: str, mode: TextMode) -> None:
    text = markdown(f"<p>seen{table}<table><tr><td>a<td>b<tr><td>cc<td>d</table>", mode)
    assert text.startswith("seen")
    assert text.endswith("a   b\ncc  d"), "other tables stay"
    assert len(text) < 1_000_000


def test_more_than_a_page_has_is_rendered_more_simply() -> None:
    many = "<b>.</b>a" * 20_001
    assert markdown(f"<p>{many}").count("a") == 20_001
    listed = markdown(f"<table><tr><td>x<td><ul>{'<li>item' * 2_001}</ul></table>")
    assert listed.startswith("x\n\n- item\n- item\n")
    assert listed.count("item") == 2_001
    pieces = markdown(f"<code>{'x<br>' * 10_001}</code><code>y<br>z</code>")
    assert pieces.count("x") == 10_001
