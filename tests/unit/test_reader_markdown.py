"""Markdown of crawled pages as nodes for the dashboard: untrusted text stays harmless."""

import time
from collections.abc import Iterator
from html import escape

import pytest

from crawlyard.web.markdown import Node, nodes_of
from crawlyard.web.reader import MAX_CHARACTERS

TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "div",
    "em",
    "figcaption",
    "figure",
    "h2",
    "h3",
    "h4",
    "h5",
}
TAGS |= {"h6", "hr", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td"}
TAGS |= {"th", "thead", "tr", "ul"}
ATTRIBUTES = {"aria-label", "href", "rel", "role", "scope", "start", "tabindex", "target", "title"}
OUT = {"target": "_blank", "rel": "noopener noreferrer nofollow"}


def html_of(nodes: list[Node]) -> str:
    """Return nodes as HTML, for comparing; of links, only the target."""
    return "".join(_html(node) for node in nodes)


def _html(node: Node) -> str:
    if isinstance(node, str):
        return escape(node, quote=False)
    [tag, attributes, *children] = node
    name, _, word = tag.partition(".")
    visible = {"class": word} if word else {}
    visible |= {key: value for key, value in attributes.items() if name != "a" or key == "href"}
    words = "".join(f' {key}="{value}"' for key, value in visible.items())
    return f"<{name}{words}>" + ("" if name in {"br", "hr"} else f"{html_of(children)}</{name}>")


def elements(nodes: list[Node]) -> Iterator[tuple[str, dict[str, object], int]]:
    """Yield the tag, the attributes and the depth of every element."""
    waiting = [(node, 1) for node in nodes]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, str):
            [tag, attributes, *children] = node
            yield tag.partition(".")[0], attributes, depth
            waiting += [(child, depth + 1) for child in children]


MARKDOWN = {
    "# A *b*\n## C #": "<h2>A <em>b</em></h2><h3>C</h3>",
    "a\nb  \nc\\\nd": "<p>a\nb<br>c<br>d</p>",
    "**a *b* c** ***d***": "<p><strong>a <em>b</em> c</strong> <em><strong>d</strong></em></p>",
    "2 * 3 * 4 a* *b": "<p>2 * 3 * 4 a* *b</p>",
    r"\*a\* \\ \n &amp; &#38; &x; &lt;": r"<p>*a* \ \n &amp; &amp; &amp;x; &lt;</p>",
    "`a\\` ``b`c`` `d": "<p><code>a\\</code> <code>b`c</code> `d</p>",
    "[a](https://x.example/)": '<p><a href="https://x.example/">a</a></p>',
    '[*a* `]`](<https://x.example/b c> "t") z': (
        '<p><a href="https://x.example/b%20c"><em>a</em> <code>]</code></a> z</p>'
    ),
    "[a](https://x.example/b_(c)) [d] e": '<p><a href="https://x.example/b_(c)">a</a> [d] e</p>',
    "![p](https://x.example/p.png)": '<p><a href="https://x.example/p.png">Image: p</a></p>',
    "[![p](https://x.example/p.png)](https://x.example/)": (
        '<p><a href="https://x.example/">Image: p</a></p>'
    ),
    "<https://x.example/a>": '<p><a href="https://x.example/a">https://x.example/a</a></p>',
    "[a](javascript:alert(1)) [b](data:text/html,x) [c](/rel)": (
        "<p>[a](javascript:alert(1)) [b](data:text/html,x) [c](/rel)</p>"
    ),
    "x<sup>2</sup> <b>y</b> <sup>z": "<p>x<sup>2</sup> &lt;b&gt;y&lt;/b&gt; &lt;sup&gt;z</p>",
    "<div onclick=x>\n\n<!-- y -->": "<p>&lt;div onclick=x&gt;</p><p>&lt;!-- y --&gt;</p>",
    "- a\n- b\n  - c\n1. d": "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><ol><li>d</li></ol>",
    "3. a\n\n   b\n4. c": '<ol start="3"><li><p>a</p><p>b</p></li><li><p>c</p></li></ol>',
    "> a\n> - b": "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>",
    "a\n\n***\n\nb": "<p>a</p><hr><p>b</p>",
    "```js\na <b>\n\n```\nc": (
        '<figure class="code"><figcaption>js</figcaption>'
        '<pre tabindex="0"><code>a &lt;b&gt;\n</code></pre></figure><p>c</p>'
    ),
    "    a\n      b\n\nc": '<pre tabindex="0"><code>a\n  b</code></pre><p>c</p>',
    "| a | b |\n| :-- | --: |\n| 1 \\| 2 | `3` |\n| 4 |": (
        '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>'
        '<thead><tr><th scope="col">a</th><th class="num" scope="col">b</th></tr></thead>'
        '<tbody><tr><td>1 | 2</td><td class="num"><code>3</code></td></tr>'
        '<tr><td>4</td><td class="num"></td></tr></tbody></table></div>'
    ),
}


@pytest.mark.parametrize("text", MARKDOWN, ids=repr)
def test_markdown_becomes_elements(text: str) -> None:
    assert html_of(nodes_of(text)) == MARKDOWN[text]


ATTACKS = {
    "<script>alert(1)</script>": "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>",
    "<img src=x onerror=alert(1)>": "<p>&lt;img src=x onerror=alert(1)&gt;</p>",
    "a <iframe srcdoc='<b>'></iframe>": "<p>a &lt;iframe srcdoc='&lt;b&gt;'&gt;&lt;/iframe&gt;</p>",
    "<sup onclick=alert(1)>x</sup>": "<p>&lt;sup onclick=alert(1)&gt;x&lt;/sup&gt;</p>",
    "<sup><script></sup>": "<p><sup>&lt;script&gt;</sup></p>",
    "<em>a": "<p>&lt;em&gt;a</p>",
    "[a](javascript:alert(1))": "<p>[a](javascript:alert(1))</p>",
    "[a](JaVaScRiPt:alert(1))": "<p>[a](JaVaScRiPt:alert(1))</p>",
    "[a](java\tscript:alert(1))": "<p>[a](java\tscript:alert(1))</p>",
    "[a](&#106;avascript:alert(1))": "<p>[a](javascript:alert(1))</p>",
    "[a](vbscript:x) [b](file:///etc/passwd)": "<p>[a](vbscript:x) [b](file:///etc/passwd)</p>",
    "[a](//evil.example) [b](https:evil)": "<p>[a](//evil.example) [b](https:evil)</p>",
    "[a][x]\n\n[x]: javascript:alert(1)": "<p>[a][x]</p><p>[x]: javascript:alert(1)</p>",
    "![a](data:image/svg+xml;base64,PHN2Zz4=)": "<p>![a](data:image/svg+xml;base64,PHN2Zz4=)</p>",
    "![a](data:image/png;base64,AA)": "<p>![a](data:image/png;base64,AA)</p>",
    "<javascript:alert(1)> <data:text/html,x> <a@b.example>": (
        "<p>&lt;javascript:alert(1)&gt; &lt;data:text/html,x&gt; &lt;a@b.example&gt;</p>"
    ),
    '[a](https://x.example/" onclick="alert(1))': (
        '<p>[a](https://x.example/" onclick="alert(1))</p>'
    ),
    "[a](<https://x.example/\"onclick='x'>)": (
        "<p><a href=\"https://x.example/%22onclick='x'\">a</a></p>"
    ),
    "```<script>\nx\n```": (
        '<figure class="code"><figcaption>&lt;script&gt;</figcaption>'
        '<pre tabindex="0"><code>x</code></pre></figure>'
    ),
    "![![a](https://x.example/)](https://y.example/)": (
        '<p><a href="https://y.example/">Image: a</a></p>'
    ),
}


@pytest.mark.parametrize("text", ATTACKS, ids=repr)
def test_text_of_a_stranger_makes_no_other_element_and_no_other_link(text: str) -> None:
    nodes = nodes_of(text)

    assert html_of(nodes) == ATTACKS[text]
    assert {tag for tag, _, _ in elements(nodes)} <= TAGS
    assert {name for _, attributes, _ in elements(nodes) for name in attributes} <= ATTRIBUTES


def test_a_link_tells_its_target_nothing() -> None:
    nodes = nodes_of("[a](https://x.example/b 'Buy')")

    [attributes] = [attributes for tag, attributes, _ in elements(nodes) if tag == "a"]
    assert attributes == {"href": "https://x.example/b", "title": "https://x.example/b", **OUT}


DEEP = {
    "quotes": (">" * 10_000 + " end", "end"),
    "lists": ("- " * 10_000 + "end", "end"),
    "emphasis": ("*a " * 10_000 + "b* " * 10_000, "b"),
    "links": ("[" * 9_000 + "a" + "](https://x.example/)" * 9_000, "a"),
    "images": ("![" * 9_000 + "a" + "](https://x.example/)" * 9_000, "a"),
    "tags": ("<em><sup><sub><strong>" * 3_000 + "a", "a"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_what_is_nested_too_deep_is_text_and_not_lost(kind: str) -> None:
    text, word = DEEP[kind]

    nodes = nodes_of(text)

    assert word in html_of(nodes)
    assert max(depth for _, _, depth in elements(nodes)) <= 60


def test_what_follows_deep_lists_is_beside_them() -> None:
    nodes = nodes_of("- " * 100 + "deep\n\nafter")

    assert nodes[-1] == ["p", {}, "after"]
    assert "deep" in html_of(nodes[:-1])


LONG = ["[", "![", "*a ", "**", "`a``", "> ", "- ", "1. ", "|a", "\\", "<", "[a](", " ", "&#", "# "]
LONG += ["<em>", "</em>", "~~a", "[a]: ", "|\n|-|\n", "`", "_a", "<http:", "  - a\n"]


@pytest.mark.slow
@pytest.mark.parametrize("part", LONG, ids=repr)
def test_no_text_takes_long(part: str) -> None:
    began = time.process_time()

    for repeated in (part, f"{part}\n"):
        nodes_of(repeated * (MAX_CHARACTERS // 4 // len(repeated)))

    assert time.process_time() - began < 5
