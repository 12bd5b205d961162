"""Pages in character sets that are old, wrong, unsaid or contradicted."""

from codecs import BOM_UTF8, BOM_UTF16_LE

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard

CAFE = "Caf\u00e9 \u00c6r\u00f8"
EURO = "10 \u20ac \u201eja\u201c"
PORT = "\u6e2f\u306e\u6642\u523b"  # Japanese: the harbour's hours
PORT_ZH = "\u6e2f\u53e3\u65f6\u95f4"
PORT_KO = "\ud56d\uad6c \uc2dc\uac04"
PORT_RU = "\u0427\u0430\u0441\u044b \u043f\u043e\u0440\u0442\u0430"


def _text(name: str, title: str, meta: str = "") -> str:
    declaration = f'<meta charset="{meta}">' if meta else ""
    return (
        f"<!doctype html><html><head>{declaration}<title>{title}</title></head>"
        f'<body><p>{title}</p><a href="/found/enc/{name}">{title}</a></body></html>'
    )


def _charset(
    name: str,
    title: str,
    codec: str,
    *,
    header: str = "",
    meta: str = "",
    bom: bytes = b"",
    read_as: str | None = "",
) -> Hazard:
    """Return a page in *codec* that says *header* and *meta*; *read_as* is None if undefined."""
    kind = f"text/html; charset={header}" if header else "text/html"
    body = bom + _text(name, title, meta).encode(codec)
    answer = Answer(200, (("Content-Type", kind),), body)
    read = title if read_as == "" else read_as
    return Hazard(f"/enc/{name}", lambda _: answer, ("page",), (f"/found/enc/{name}",), read)


def _body(name: str, kind: str, body: bytes, links: tuple[str, ...] = ()) -> Hazard:
    headers = (("Content-Type", kind),) if kind else ()
    return Hazard(f"/enc/{name}", lambda _: Answer(200, headers, body), ("page",), links)


_ASCII = _text("x", "Plain").encode()

HAZARDS = (
    _charset("utf8", CAFE, "utf-8", header="utf-8"),
    _charset("latin1", CAFE, "latin-1", header="iso-8859-1"),
    # WHATWG: "latin-1" is windows-1252, where 0x80 is the euro
    _charset("cp1252-as-latin1", EURO, "cp1252", header="ISO-8859-1"),
    _charset("quoted", CAFE, "latin-1", header='"ISO-8859-1"'),
    _charset("meta-latin1", CAFE, "latin-1", meta="iso-8859-1"),
    _charset("sjis", PORT, "shift_jis", header="Shift_JIS"),
    _charset("meta-sjis", PORT, "shift_jis", meta="shift_jis"),
    _charset("euc-jp", PORT, "euc_jp", header="euc-jp"),
    _charset("iso-2022-jp", PORT, "iso2022_jp", header="iso-2022-jp"),
    _charset("gbk", PORT_ZH, "gbk", header="gb2312"),
    _charset("euc-kr", PORT_KO, "euc_kr", header="euc-kr"),
    _charset("koi8-r", PORT_RU, "koi8_r", header="koi8-r"),
    _charset("cp1251", PORT_RU, "cp1251", meta="windows-1251"),
    _charset("utf16-bom", PORT, "utf-16-le", bom=BOM_UTF16_LE),
    _charset("utf16-header", PORT, "utf-16-be", header="utf-16be"),
    # a meta that could be read as ASCII cannot be in UTF-16: it means UTF-8
    _charset("meta-utf16", CAFE, "utf-8", meta="utf-16"),
    _charset("bom", CAFE, "utf-8", bom=BOM_UTF8),
    _charset("bom-wins", CAFE, "utf-8", bom=BOM_UTF8, header="iso-8859-1", meta="shift_jis"),
    _charset("header-wins", CAFE, "utf-8", header="utf-8", meta="iso-8859-1"),
    _charset(
        "header-lies",
        CAFE,
        "utf-8",
        header="iso-8859-1",
        meta="utf-8",
        read_as=CAFE.encode().decode("cp1252"),
    ),
    _charset("utf8-lies", CAFE, "latin-1", header="utf-8", read_as="Caf\ufffd \ufffdr\ufffd"),
    _charset("unknown-charset", CAFE, "utf-8", header="klingon", meta="utf-8"),
    _charset("unknown-both", CAFE, "utf-8", header="klingon", meta="vulcan", read_as=None),
    _charset("unsaid", CAFE, "utf-8", read_as=None),
    # codecs of Python that are no character sets: asking for one by name must not run it
    _charset("codec-rot13", "Plain", "ascii", header="rot13", read_as=None),
    _charset("codec-zlib", "Plain", "ascii", header="zlib_codec", read_as=None),
    _charset("codec-idna", "Plain", "ascii", header="idna", read_as=None),
    _charset("utf7", "Plain", "ascii", header="utf-7", read_as=None),
    _body("nul", "text/html", _text("nul", "A\0B").encode(), ("/found/enc/nul",)),
    _body("all-nul", "text/html", b"\0" * 100_000),
    _body("all-bytes", "text/html; charset=utf-8", bytes(range(256)) * 400),
    _body(
        "surrogate", "text/html; charset=utf-8", b"<title>\xed\xa0\x80 &#xD800; &#x110000;</title>"
    ),
    _body("no-type", "", _ASCII),
    _body("odd-type", "text/html;;charset=;=utf-8; x", _ASCII),
    _body("type-nonsense", "what is this", _ASCII),
    _body("binary", "application/octet-stream", bytes(range(256)) * 40),
    _body("png-as-html", "text/html", b"\x89PNG\r\n\x1a\n" + bytes(1000)),
    _body("xhtml", "application/xhtml+xml", _text("xhtml", "X").encode()),
    _body("json", "application/json", b'{"href": "/never/json"}'),
    _body("text", "text/plain", b'<a href="/never/text">no link</a>'),
)
