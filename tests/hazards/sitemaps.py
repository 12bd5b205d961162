"""Sitemaps that refer to themselves, lie, explode, or ask for what they should not get."""

import gzip
from functools import cache
from xml.sax.saxutils import escape

from crawlyard.demo.site import Answer
from tests.hazards.bombs import deflated
from tests.hazards.common import Hazard, HazardRequest, Make

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
MOST_URLS = 50_000  # sitemaps.org


def _xml(body: str, kind: str = "application/xml") -> Answer:
    return Answer(200, (("Content-Type", kind),), body.encode())


def urlset(*urls: str) -> str:
    locs = "\n".join(f"<url><loc>{escape(url)}</loc></url>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {NAMESPACE}>\n{locs}\n</urlset>\n'


def _plain(name: str) -> Make:
    return lambda call: _xml(urlset(f"http://{call.host}/found/sm/{name}"))


def _text_of(template: str, kind: str = "application/xml") -> Make:
    """Return what gives *template* with HOST, OTHER and CANARY filled in."""

    def make(call: HazardRequest) -> Answer:
        text = template.replace("HOST", call.host).replace("OTHER", call.world.other)
        return _xml(text.replace("CANARY", call.world.canary), kind)

    return make


def index(call: HazardRequest) -> Answer:
    """List every kind that has something to find, the index itself, and one that is absent."""
    names = ("index.xml", "plain.xml", "packed.xml.gz", "coded.xml", "cdata.xml", "absent.xml")
    locs = "".join(f"<sitemap><loc>http://{call.host}/sm/{name}</loc></sitemap>" for name in names)
    return _xml(f'<?xml version="1.0"?><sitemapindex {NAMESPACE}>{locs}</sitemapindex>')


def endless_index(call: HazardRequest) -> Answer:
    """List two further indexes, which list two each, and so on."""
    deeper = call.path.removesuffix(".xml")
    locs = "".join(
        f"<sitemap><loc>http://{call.host}{deeper}{turn}.xml</loc></sitemap>" for turn in "ab"
    )
    return _xml(f'<?xml version="1.0"?><sitemapindex {NAMESPACE}>{locs}</sitemapindex>')


def packed(call: HazardRequest) -> Answer:
    """Give a file that is a gzip, as .xml.gz files are."""
    body = gzip.compress(urlset(f"http://{call.host}/found/sm/packed").encode())
    return Answer(200, (("Content-Type", "application/gzip"),), body)


def coded(call: HazardRequest) -> Answer:
    """Give a plain sitemap that is packed on its way only."""
    body = gzip.compress(urlset(f"http://{call.host}/found/sm/coded").encode())
    return Answer(200, (("Content-Type", "text/xml"), ("Content-Encoding", "gzip")), body)


def text(call: HazardRequest) -> Answer:
    at = f"http://{call.host}/found/sm"
    lines = f"\ufeff{at}/text1\r\n\n  {at}/text2\nno url\n"
    return _xml(lines, "text/plain; charset=utf-8")


def mixed(call: HazardRequest) -> Answer:
    """List what may be fetched beside what may not: another host, forbidden, other schemes."""
    return _xml(
        urlset(
            f"http://{call.world.other}/never/sm",
            f"http://{call.host}/private/from-sitemap",
            f"http://{call.world.canary}/never/sm",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "http://[",
            "",
            "/maybe/sm/relative",
            f"  http://{call.host}/found/sm/mixed?a=1&b=2\n",
            f"http://{call.host}/found/sm/mixed#part",
        )
    )


def many(call: HazardRequest) -> Answer:
    """List one URL more than a sitemap may have."""
    urls = [f"http://{call.host}/found/sm/n/{n}" for n in range(MOST_URLS)]
    return _xml(urlset(*urls, f"http://{call.host}/never/sm/one-too-many"))


CDATA = f"""<?xml version="1.0"?><urlset {NAMESPACE}>
<url><loc><![CDATA[http://HOST/found/sm/cdata?a=1&b=2]]></loc></url></urlset>"""
PREFIXED = """<?xml version="1.0"?><s:urlset xmlns:s="http://www.sitemaps.org/schemas/sitemap/0.9">
<s:url><s:loc>http://HOST/found/sm/prefixed</s:loc></s:url></s:urlset>"""
BARE = "<urlset><url><loc>http://HOST/found/sm/bare</loc></url></urlset>"
MALFORMED = f"""<?xml version="1.0"?><urlset {NAMESPACE}>
<url><loc>http://HOST/found/sm/before</loc></url><url><loc>http://HOST/maybe/a&b</loc></wrong>"""
IMAGES = f"""<?xml version="1.0"?><urlset {NAMESPACE}
 xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url>
<loc>http://HOST/found/sm/images</loc>
<image:image><image:loc>http://HOST/never/sm/image.png</image:loc></image:image></url></urlset>"""
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f"""<?xml version="1.0"?><!DOCTYPE urlset [<!ENTITY l0 "http://HOST/never/lol">{LAUGHS}]>
<urlset {NAMESPACE}><url><loc>&l9;</loc></url></urlset>"""
XXE = f"""<?xml version="1.0"?><!DOCTYPE urlset SYSTEM "http://CANARY/urlset.dtd" [
<!ENTITY inside SYSTEM "http://CANARY/entity"><!ENTITY passwd SYSTEM "file:///etc/passwd">
<!ENTITY % outer SYSTEM "http://CANARY/parameter"> %outer;]>
<urlset {NAMESPACE} xmlns:xi="http://www.w3.org/2001/XInclude">
<xi:include href="http://CANARY/include"/>
<url><loc>http://HOST/maybe/xxe?&inside;&passwd;</loc></url></urlset>"""
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><link>http://HOST/maybe/rss</link>
<item><link>http://HOST/maybe/rss/item</link></item></channel></rss>"""
HTML = """<!doctype html><title>Not found</title><a href="/never/sm/html">no sitemap</a>"""
DEEP = f'<?xml version="1.0"?><urlset {NAMESPACE}>' + "<url>" * 100_000
ATTRIBUTES = "<urlset " + " ".join(f'a{n}="1"' for n in range(100_000)) + "/>"


@cache
def _gzip_bomb() -> bytes:
    return deflated("sm", 31)


def gzip_bomb(_: HazardRequest) -> Answer:
    return Answer(200, (("Content-Type", "application/gzip"),), _gzip_bomb())


def _sitemap(name: str, make: Make, *links: str) -> Hazard:
    return Hazard(f"/sm/{name}", make, (), links)


HAZARDS = (
    _sitemap(
        "index.xml",
        index,
        *("/sm/plain.xml", "/sm/packed.xml.gz", "/sm/coded.xml", "/sm/cdata.xml", "/sm/absent.xml"),
        *("/found/sm/plain", "/found/sm/packed", "/found/sm/coded", "/found/sm/cdata?a=1&b=2"),
    ),
    Hazard("/sm/endless*", endless_index, ("endless",), start="/sm/endless.xml"),
    _sitemap("plain.xml", _plain("plain"), "/found/sm/plain"),
    _sitemap("packed.xml.gz", packed, "/found/sm/packed"),
    _sitemap("coded.xml", coded, "/found/sm/coded"),
    _sitemap("cdata.xml", _text_of(CDATA), "/found/sm/cdata?a=1&b=2"),
    _sitemap("prefixed.xml", _text_of(PREFIXED), "/found/sm/prefixed"),
    _sitemap("bare.xml", _text_of(BARE), "/found/sm/bare"),
    _sitemap("images.xml", _text_of(IMAGES), "/found/sm/images"),
    _sitemap(
        "as-html.xml",
        _text_of(urlset("http://HOST/found/sm/typed"), "text/html"),
        "/found/sm/typed",
    ),
    _sitemap("urls.txt", text, "/found/sm/text1", "/found/sm/text2"),
    _sitemap("mixed.xml", mixed, "/found/sm/mixed?a=1&b=2", "/found/sm/mixed"),
    _sitemap("many.xml", many, "/found/sm/n/0", f"/found/sm/n/{MOST_URLS - 1}"),
    _sitemap("malformed.xml", _text_of(MALFORMED)),
    _sitemap("bomb.xml", _text_of(BOMB)),
    _sitemap("xxe.xml", _text_of(XXE)),
    _sitemap("feed.rss", _text_of(FEED, "application/rss+xml")),
    _sitemap("page.html", _text_of(HTML, "text/html")),
    _sitemap("deep.xml", _text_of(DEEP)),
    _sitemap("attributes.xml", _text_of(ATTRIBUTES)),
    _sitemap("empty.xml", lambda _: _xml("")),
    _sitemap("binary.xml", lambda _: Answer(200, (), bytes(range(256)) * 100)),
    _sitemap("gzbomb.xml.gz", gzip_bomb),
)
