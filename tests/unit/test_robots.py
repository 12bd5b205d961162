import re

from hypothesis import given
from hypothesis import strategies as st

from crawlyard.engine.robots.rules import ALLOW_ALL, MAX_PARSED, parse, token_of

AGENT = "CrawlyardBot/1.0 (+https://example.org/bot)"


def verdict(body: str | bytes, path: str, agent: str = AGENT) -> str | None:
    return parse(body.encode() if isinstance(body, str) else body, agent).verdict(path)


def anyone(*rules: str) -> str:
    return "User-agent: *\n" + "\n".join(rules) + "\n"


FORBIDDEN: dict[str, tuple[str | bytes, str]] = {
    "a prefix": (anyone("Disallow: /private"), "/private/x"),
    "everything": (anyone("Disallow: /"), "/"),
    "the longest rule": (anyone("Allow: /a", "Disallow: /a/b"), "/a/b/c"),
    "the longest in any order": (anyone("Disallow: /a/b", "Allow: /a"), "/a/b/c"),
    "a wildcard": (anyone("Disallow: /*.gif"), "/img/a.gif?x"),
    "a wildcard in front": (anyone("Disallow: *.gif"), "/img/a.gif"),
    "the longest wildcard": (anyone("Allow: /*a", "Disallow: /*ab"), "/xab"),
    "an end": (anyone("Disallow: /*.gif$"), "/img/a.gif"),
    "several wildcards": (anyone("Disallow: /a*b*c"), "/axxbyyc"),
    "the last place that fits an end": (anyone("Disallow: /*ab$"), "/abxab"),
    "a query": (anyone("Disallow: /*?id="), "/page?id=3"),
    "a wildcard alone": (anyone("Disallow: *"), "/x"),
    "an end after a wildcard": (anyone("Disallow: /a*$"), "/abc"),
    "an exact path": (anyone("Disallow: /a$"), "/a"),
    "a dollar inside": (anyone("Disallow: /a$b"), "/a$bc"),
    "an escaped asterisk": (anyone("Disallow: /a%2Ab"), "/a*b"),
    "an escaped dollar": (anyone("Disallow: /a%24"), "/a$"),
    "an escaped letter in the rule": (anyone("Disallow: /%70rivate"), "/private"),
    "an escaped letter in the path": (anyone("Disallow: /private"), "/%70rivate"),
    "an escaped tilde": (anyone("Disallow: /~joe"), "/%7ejoe"),
    "a rule beyond ASCII": (anyone("Disallow: /ä"), "/%C3%A4/x"),
    "a path beyond ASCII": (anyone("Disallow: /%c3%a4"), "/ä"),
    "a blank in a rule": (anyone("Disallow: /a b"), "/a%20b"),
    "escapes in any case": (anyone("Disallow: /%2F"), "/%2f"),
    "our name": ("User-agent: CrawlyardBot\nDisallow: /x", "/x"),
    "our name in any case": ("user-AGENT:CRAWLYARDBOT\ndisALLOW:/x", "/x"),
    "our name with a version": ("User-agent: CrawlyardBot/2.1\nDisallow: /x", "/x"),
    "our name among others": ("User-agent: a\nUser-agent: crawlyardbot\nDisallow: /x", "/x"),
    "two groups of ours": (
        "User-agent: crawlyardbot\nDisallow: /x\n\nUser-agent: crawlyardbot\nDisallow: /y",
        "/y",
    ),
    "two groups of anyone": (anyone("Disallow: /x") + anyone("Disallow: /y"), "/x"),
    "an unknown line between agents": (
        "User-agent: crawlyardbot\nSitemap: /s.xml\nUser-agent: b\nDisallow: /x",
        "/x",
    ),
    "an unknown line in a group": (anyone("Host: a.example", "Disallow: /x"), "/x"),
    "a crawl-delay between agents": (
        "User-agent: crawlyardbot\nCrawl-delay: 3\nUser-agent: b\nDisallow: /x",
        "/x",
    ),
    "a blank line in a group": ("User-agent: *\n\n\nDisallow: /x", "/x"),
    "a comment": (anyone("Disallow: /x # that is all", "# Allow: /x"), "/x"),
    "blanks everywhere": ("  User-agent :\t*  \n\t Disallow  :  /x  ", "/x"),
    "a misspelt key": (anyone("Dissallow: /x"), "/x"),
    "carriage returns alone": ("User-agent: *\rDisallow: /x\r", "/x"),
    "line ends of Windows": ("User-agent: *\r\nDisallow: /x\r\n", "/x"),
    "a byte order mark": ("\ufeffUser-agent: *\nDisallow: /x", "/x"),
    "UTF-16": (anyone("Disallow: /x").encode("utf-16"), "/x"),
    "octets that are no UTF-8": (b"User-agent: *\nDisallow: /\xe4\xff\nDisallow: /x", "/x"),
    "an octet of Latin-1": (b"User-agent: *\nDisallow: /\xe4", "/%E4"),
    "zero octets": (b"\0User-agent: *\nUser-agent: *\0\nDisallow: /x\0", "/x"),
    "no line end": ("User-agent: *\nDisallow: /x", "/x"),
    "a rule of two asterisks": (anyone("Disallow: /a**b"), "/axb"),
}

ALLOWED: dict[str, tuple[str | bytes, str]] = {
    "nothing said": ("", "/x"),
    "an empty rule": (anyone("Disallow:"), "/x"),
    "another path": (anyone("Disallow: /private"), "/public"),
    "the same path in another case": (anyone("Disallow: /private"), "/Private"),
    "a longer allow": (anyone("Disallow: /a", "Allow: /a/b"), "/a/b"),
    "a tie": (anyone("Disallow: /a", "Allow: /a"), "/a"),
    "a tie in another order": (anyone("Allow: /a", "Disallow: /a"), "/a"),
    "a tie with a wildcard": (anyone("Disallow: /a*c", "Allow: /abc"), "/abc"),
    "a longer allow with a wildcard": (anyone("Disallow: /a", "Allow: /*b"), "/ab"),
    "an asterisk at the end adds nothing": (anyone("Disallow: /ab*", "Allow: /ab"), "/abc"),
    "a longer wildcard": (anyone("Disallow: /*a", "Allow: /*ab"), "/xab"),
    "robots.txt itself": (anyone("Disallow: /"), "/robots.txt"),
    "an end that is passed": (anyone("Disallow: /*.gif$"), "/a.gif?x"),
    "an exact path that is passed": (anyone("Disallow: /a$"), "/ab"),
    "an escaped slash": (anyone("Disallow: /a/b"), "/a%2Fb"),
    "a slash for an escaped one": (anyone("Disallow: /a%2Fb"), "/a/b"),
    "an escaped asterisk for a wildcard": (anyone("Disallow: /a%2Ab"), "/axb"),
    "parts that would overlap": (anyone("Disallow: /*ab*ba$"), "/aba"),
    "a part before its place": (anyone("Disallow: /x*/y"), "/y/x"),
    "the beginning of our name": ("User-agent: crawl\nDisallow: /", "/x"),
    "a name that begins like ours": ("User-agent: CrawlyardBot-News\nDisallow: /", "/x"),
    "our group goes before anyone's": (
        anyone("Disallow: /") + "User-agent: crawlyardbot\nDisallow: /x",
        "/y",
    ),
    "our group says nothing": (anyone("Disallow: /") + "User-agent: crawlyardbot", "/y"),
    "a rule before any agent": ("Disallow: /x\nUser-agent: *\nDisallow: /y", "/x"),
    "a rule without a slash": (anyone("Disallow: private"), "/private"),
    "a comment's rule": (anyone("# Disallow: /x"), "/x"),
    "HTML": ("<!doctype html><p>User-agent: *<p>Disallow: /<a href='http://x/'>", "/x"),
    "a picture": (bytes(range(256)) * 40, "/x"),
    "no colon": ("User-agent *\nDisallow /", "/x"),
    "an invalid escape": (anyone("Disallow: /a%zz%"), "/a"),
}


def test_forbids() -> None:
    for name, (body, path) in FORBIDDEN.items():
        assert verdict(body, path) is not None, name


def test_allows() -> None:
    for name, (body, path) in ALLOWED.items():
        assert verdict(body, path) is None, name


def test_the_verdict_is_the_line_that_decided() -> None:
    body = anyone("Disallow: /p", "Disallow: /private/*.html$ # no pages")
    assert verdict(body, "/private/a.html") == "Disallow: /private/*.html$"
    assert verdict(body, "/private/a.htm") == "Disallow: /p"


def test_the_name_for_robots_is_the_first_product() -> None:
    for agent, token in [
        ("CrawlyardBot", "crawlyardbot"),
        ("Crawlyard/0.1 (+https://example.org)", "crawlyard"),
        ("Mozilla/5.0 (compatible; MyBot/2.0; +http://example.org)", "mybot"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "mozilla"),
        ("my_bot-2.x other", "my_bot-2.x"),
        ("", ""),
        ("ä", ""),
    ]:
        assert token_of(agent) == token, agent


def test_a_crawl_delay_is_that_of_its_agents() -> None:
    for body, delay_s in [
        (anyone("Crawl-delay: 2.5"), 2.5),
        (anyone("Disallow: /x", "Crawl-delay: 7"), 7),
        (anyone("crawl-delay: 1", "crawl-delay: 10", "crawl-delay: 3"), 10),
        (anyone("Crawl-delay: soon"), None),
        (anyone("Crawl-delay: -1"), None),
        (anyone("Crawl-delay: nan"), None),
        (anyone("Crawl-delay: inf"), None),
        (anyone("Crawl-delay: 0"), 0),
        (anyone("Disallow: /"), None),
        ("User-agent: crawlyardbot\nUser-agent: b\nCrawl-delay: 4", 4),
        ("User-agent: crawlyardbot\nCrawl-delay: 4\nUser-agent: b\nCrawl-delay: 9", 4),
        ("User-agent: b\nCrawl-delay: 9\nUser-agent: crawlyardbot\nDisallow: /", None),
        (anyone("Crawl-delay: 9") + "User-agent: crawlyardbot\nDisallow: /", None),
    ]:
        assert parse(body.encode(), AGENT).delay_s == delay_s, body


def test_sitemaps_belong_to_no_group() -> None:
    body = "Sitemap: http://h/1.xml\nUser-agent: b\nSitemap:/2.xml\nDisallow: /\nSITEMAP: \n"
    assert parse(body.encode(), AGENT).sitemaps == ("http://h/1.xml", "/2.xml")


def test_no_more_than_500_kib_are_read_and_no_line_by_half() -> None:
    head = anyone("Disallow: /first").encode()
    filler = b"#" * (MAX_PARSED - len(head) - len(b"\nDisallow: /a"))
    body = head + filler + b"\nDisallow: /a/long/path\nDisallow: /last\n"

    rules = parse(body, AGENT)

    assert rules.verdict("/first") == "Disallow: /first"
    assert rules.verdict("/abc") is None  # "Disallow: /a" is what was left of it
    assert rules.verdict("/last") is None


def test_a_site_without_rules_allows_all() -> None:
    assert ALLOW_ALL.verdict("/private") is None
    assert ALLOW_ALL.delay_s is None


def test_many_wildcards_end_at_once() -> None:
    # each way to share the letters out among the asterisks would be tried by a regex: 2**100
    rules = parse(anyone(f"Disallow: /{'*a' * 100}*b$").encode(), AGENT)
    assert rules.verdict("/" + "a" * 8_000) is None
    assert rules.verdict("/" + "a" * 8_000 + "b") is not None


def fits(pattern: str, path: str) -> bool:
    """Return by exhaustive search whether *pattern* matches from the start of *path*."""
    if not pattern:
        return True
    if pattern == "$":
        return not path
    if pattern[0] == "*":
        return any(fits(pattern[1:], path[i:]) for i in range(len(path) + 1))
    return path[:1] == pattern[0] and fits(pattern[1:], path[1:])


patterns = st.text("ab/*", max_size=7).flatmap(lambda p: st.sampled_from(["/" + p, "/" + p + "$"]))
paths = st.text("ab/", max_size=8).map("/".__add__)


@given(pattern=patterns, path=paths)
def test_wildcards_match_as_by_trying_everything(pattern: str, path: str) -> None:
    matched_rule = verdict(anyone(f"Disallow: {pattern}"), path)
    assert (matched_rule is not None) == fits(pattern, path)


def octets(pattern: str) -> int:
    """Return the specificity of *pattern*, without redundant asterisks."""
    return len(re.sub(r"\*+\$?$", "", re.sub(r"\*+", "*", pattern)))


@given(rules=st.lists(st.tuples(st.booleans(), patterns), max_size=6), path=paths)
def test_the_longest_rule_decides_whatever_the_order(
    rules: list[tuple[bool, str]], path: str
) -> None:
    body = anyone(*(f"{'Allow' if allow else 'Disallow'}: {pattern}" for allow, pattern in rules))
    fitting = [(octets(pattern), allow) for allow, pattern in rules if fits(pattern, path)]
    deciding_rule = verdict(body, path)
    assert (deciding_rule is None) == max(fitting, default=(0, True))[1]


@given(body=st.binary(max_size=300), path=st.text(max_size=20))
def test_nothing_in_a_file_is_an_error(body: bytes, path: str) -> None:
    parse(b"User-agent: *\nDisallow: /" + body, AGENT).verdict("/" + path)
