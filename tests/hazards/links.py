"""Links in every form that HTML allows and some that it does not.

What must be asked for lies under /found/, what must not under /never/; what a policy
decides (images, frames, canonical URLs) lies under /maybe/ and is not judged.
"""

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, fixed, html, page


def _page(name: str, body: str, *links: str, title: str | None = None) -> Hazard:
    """Return a page with *body* as it stands, and one plain link at its end."""
    last = f"/found/link/{name}"
    text = f'<!doctype html>\n{body}\n<p><a href="{last}">on</a></p>'
    return Hazard(f"/link/{name}", fixed(html(text)), ("page",), (*links, last), title)


def _titled(name: str, markup: str, title: str) -> Hazard:
    return _page(name, f"<title>{markup}</title>", title=title)


def _robots(name: str, *, links: tuple[str, ...] = (), head: str = "", tag: str = "") -> Hazard:
    headers = (("X-Robots-Tag", tag),) if tag else ()
    answer = page(*(links or ("/never/robots",)), head=head, headers=headers)
    return Hazard(f"/link/{name}", fixed(answer), ("page",), links)


def base_foreign(call: HazardRequest) -> Answer:
    """Give relative links to another host, and one to this one."""
    return html(
        f'<base href="http://{call.world.other}/never/"><a href="x">x</a> <a href="/never/y">y</a>'
        f'<a href="http://{call.host}/found/link/base-foreign">on</a>'
    )


SCHEMES = "".join(
    f'<a href="{href}">x</a>\n'
    for href in (
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " \x01javascript:alert(1)",
        "java\tscr\nipt:alert(1)",
        "javascript&colon;alert(1)",
        "mailto:a@b.test?subject=/never/mail",
        "tel:+4930123",
        "data:text/html,<a href=/never/data>x</a>",
        "about:blank",
        "blob:http://127.0.0.1/never",
        "ftp://127.0.0.1/never/ftp",
        "file:///etc/passwd",
        "view-source:/never/view",
        "ws://127.0.0.1/never/ws",
        "gopher://127.0.0.1:70/_never",
        "dict://127.0.0.1:11211/stat",
        "x:/never/x",
    )
)

BROKEN = "".join(
    f'<a href="{href}">x</a>\n'
    for href in (
        "http://",
        "http://[",
        "http://[::1",
        "http://[1:2:3]/",
        "http://a b/",
        "http://a%00b/",
        "http://%zz/",
        "http://a&lt;b/",
        "http://:80/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://1.2.3.4.5.256/",
        "http://256.256.256.256/",
        "http://xn--a/",
        "http://user:pass@/",
        "https:// /",
        "//[",
    )
)

SYNTAX = """<title>Syntax</title>
<a href=/found/s/unquoted>1</a> <A HREF="/found/s/upper">2</A> <a href='/found/s/single'>3</a>
<a
  class="x"
  href
  =
  "/found/s/lines"
>4</a> <a/href="/found/s/slash">5</a> <a title="a > b" href="/found/s/gt">6</a>
<a href="/found/s/first" href="/never/second">7</a> <a href="  /found/s/blanks  ">8</a>
<a href="/found/
s/new
line">9</a> <a data-href="/never/data">10</a> <a hrefs="/never/hrefs">11</a> <a href>12</a>
<a href="/found/s/unclosed">13 <a href="/found/s/in-it">14</a> < a href="/never/space">15</a>
<a href="\\found\\s\\back">16</a> <a href="../../../../found/s/up">17</a> <a href="">18</a>
<a href="#top">19</a> <area href="/found/s/area"> <a href="/found/s/\u00fc?\u00fc=\u00df">20</a>
<p><b><a href="/found/s/misnested">21</b></a></p></div></body></html>
<a href="/found/s/after-the-end">22</a>"""

SYNTAX_FOUND = (
    *(f"/found/s/{n}" for n in ("unquoted", "upper", "single", "lines", "slash", "gt", "first")),
    *(f"/found/s/{n}" for n in ("blanks", "newline", "unclosed", "in-it", "back", "up", "area")),
    *("/found/s/%C3%BC?%C3%BC=%C3%9F", "/found/s/misnested", "/found/s/after-the-end"),
)

ENTITIES = """<a href="/found/e?a=1&amp;b=2">1</a> <a href="/found/e?x=1&copy=2">2</a>
<a href="&#47;found&#x2F;e&sol;num">3</a> <a href="/found/e/%26amp%3B">4</a>
<a href="/found/e?c=1&d=2">5</a> <a href="/found/e?f=&quot;q&quot;">6</a>"""

ENTITIES_FOUND = (
    *("/found/e?a=1&b=2", "/found/e?x=1&copy=2", "/found/e/num", "/found/e/%26amp%3B"),
    *("/found/e?c=1&d=2", "/found/e?f=%22q%22"),
)

COMMENTS = """<!-- <a href="/never/c/1">1</a> -->
<!--> <a href="/found/c/2">2</a> <!-- --!> <a href="/found/c/3">3</a>
<!- <a href="/never/c/4"> -> <a href="/found/c/5">5</a> <!-- > <a href="/never/c/6"> -->
<![CDATA[<a href="/never/c/7">]]> <?php <a href="/never/c/8"> ?> </ <a href="/never/c/9">
<!-- <!-- <a href="/never/c/10"> --> <a href="/found/c/11">11</a> -->"""

RAW = """<title><a href="/never/r/title"></title>
<script>document.write('<a href="/never/r/script">x</a>')</script>
<script><!-- <script></script> <a href="/never/r/escaped"> --></script>
<style>/* <a href="/never/r/style"> */</style>
<textarea><a href="/never/r/textarea">x</a></textarea>
<xmp><a href="/never/r/xmp">x</a></xmp> <iframe><a href="/never/r/iframe">x</a></iframe>
<noembed><a href="/never/r/noembed"></noembed> <noframes><a href="/never/r/noframes"></noframes>
<template><a href="/never/r/template">x</a></template>
<script type="application/json">{"href": "/never/r/json"}</script>"""

FORMS = """<form action="/never/f/get"><input name=q><input type=submit></form>
<form action="/never/f/post" method=post><button formaction="/never/f/button">Delete</button></form>
<form><input type=image formaction="/never/f/image"></form>
<a href="/found/f/ping" ping="/never/f/ping">x</a>
<form action="/never/f/outer"><a href="/found/f/inside">x</a></form>"""

ELEMENTS = """<link rel=canonical href="/maybe/canonical">
<link rel=alternate hreflang=de href="/maybe/de">
<link rel=stylesheet href="/maybe/a.css"><link rel=next href="/maybe/next">
<img src="/maybe/a.png" srcset="/maybe/b.png 2x"><iframe src="/maybe/iframe"></iframe>
<script src="/maybe/a.js"></script><object data="/maybe/object"></object><embed src="/maybe/embed">
<video src="/maybe/video" poster="/maybe/poster"></video><svg><a href="/maybe/svg">x</a></svg>
<blockquote cite="/maybe/cite">x</blockquote><noscript><a href="/maybe/noscript">x</a></noscript>"""

XSS = "<script>alert(1)</script>"

HAZARDS = (
    _page("schemes", SCHEMES),
    _page("broken", BROKEN),
    _page("syntax", SYNTAX, *SYNTAX_FOUND, title="Syntax"),
    _page("entities", ENTITIES, *ENTITIES_FOUND),
    _page("comments", COMMENTS, "/found/c/2", "/found/c/3", "/found/c/5", "/found/c/11"),
    _page("raw", RAW, title='<a href="/never/r/title">'),
    _page("forms", FORMS, "/found/f/ping", "/found/f/inside"),
    _page("elements", ELEMENTS),
    _page("plaintext", '<a href="/found/p/1">1</a>', "/found/p/1"),
    _page("base", '<base href="/found/base/"><a href="x">x</a>', "/found/base/x"),
    _page(
        "base-two",
        '<base href="/found/b2/"><base href="/never/b2/"><a href="x">x</a>',
        "/found/b2/x",
    ),
    _page(
        "base-target",
        '<base target=_top><base href="/found/b3/"><a href="x">x</a>',
        "/found/b3/x",
    ),
    _page("base-late", '<a href="x">x</a><div><base href="/found/b4/"></div>', "/found/b4/x"),
    _page("base-relative", '<base href="../found/b5/"><a href="x">x</a>', "/found/b5/x"),
    _page(
        "base-empty",
        '<base href=""><base href="/never/b6/"><a href="../found/b6">x</a>',
        "/found/b6",
    ),
    _page("base-js", '<base href="javascript:x"><a href="../found/b7">x</a>', "/found/b7"),
    _page("base-broken", '<base href="http://["><a href="../found/b8">x</a>', "/found/b8"),
    Hazard("/link/base-foreign", base_foreign, ("page",), ("/found/link/base-foreign",)),
    _page("long", f'<a href="/never/{"x" * 100_000}">x</a>'),
    _page("same", '<a href="/found/same">x</a>' * 10_000, "/found/same"),
    _page(
        "nofollow",
        '<a rel=nofollow href="/never/n/1">1</a><a rel="UGC NoFollow" href="/never/n/2">2</a>'
        '<a rel="nofollower" href="/found/n/3">3</a><a rel=noopener href="/found/n/4">4</a>'
        '<a rel=nofollow href="/found/n/5">5</a><a href="/found/n/5">6</a>',
        *("/found/n/3", "/found/n/4", "/found/n/5"),
    ),
    _robots("meta-nofollow", head='<meta name="ROBOTS" content="index, NoFollow">'),
    _robots("meta-none", head='<meta name=robots content="none">'),
    _robots("header-nofollow", tag="nofollow"),
    _robots("header-none", tag="noarchive, NONE"),
    _robots("header-noindex", tag="noindex", links=("/found/n/header",)),
    _robots(
        "meta-noindex", head='<meta name="robots" content="NOINDEX">', links=("/found/n/meta",)
    ),
    _robots("other-agent", tag="otherbot: nofollow, noindex", links=("/found/n/other",)),
    _robots(
        "other-meta",
        head='<meta name="otherbot" content="nofollow, noindex">',
        links=("/found/n/other-meta",),
    ),
    _robots("header-odd", tag=",,; nofollowing, : x", links=("/found/n/odd",)),
    _titled("xss", "&lt;script>alert(1)&lt;/script>", XSS),
    _titled("xss-attribute", '">&lt;img src=x onerror=alert(1)>', '"><img src=x onerror=alert(1)>'),
    _titled("formula", "=1+1", "=1+1"),
    _titled("formula-at", "@SUM(1+1)*cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0"),
    _titled("formula-minus", "-2+3", "-2+3"),
    _titled("quotes", "a \"b\", c;'d'", "a \"b\", c;'d'"),
    # terminal control sequences, and a character that reverses the rest of a line
    _page("ansi", "<title>\x1b[31mred\x1b]0;owned\x07</title>"),
    _page("bidi", "<title>\u202egnp.exe</title>"),
    _page("markup", "<title>[bold red]rich[/bold red] {x} %s {{ 7*7 }}</title>"),
    _page("blank-title", "<title> \n\t </title>", title=""),
    _titled("lines-title", "\n  One\n  title \n", "One title"),
    _page("two-titles", "<title>First</title><title>Second</title>", title="First"),
    _page("svg-title", "<svg><title>Drawing</title></svg><title>Page</title>", title="Page"),
    _page("no-title", "<p>No title</p>", title=""),
)

NOINDEX = frozenset(
    f"/link/{name}" for name in ("meta-none", "header-none", "header-noindex", "meta-noindex")
)
"""The pages that ask not to be kept."""
