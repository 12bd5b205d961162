"""A site of known truth: how many URLs of each kind a crawl of it finds."""

from crawlyard.demo.site import HTML, Answer

LINKS = ("/a", "/b", "/gone", "/broken", "/moved", "/away", "/secret/x", "https://other.example/")
MORE = ("/c", "/d?x=1", "/loop")
FETCHED = ("/", "/a", "/b", "/c", "/d?x=1", "/new")
DEAD = "http://127.0.0.1:1/"
"""A start URL where nothing listens: it fails without an answer."""

LIMIT = 4
"""Pages of the job that a limit stops."""

NUMBERS = {
    "found": 13,
    "done": 13,
    "fetched": len(FETCHED),
    "failed": 4,
    "redirected": 1,
    "skipped": 4,
    "waiting": 0,
    "pages": 9,
}
"""The numbers of a job that crawls the whole site and the dead URL."""

FOUND_BEFORE_LIMIT = 11
"""URLs that the job which a limit stops has found."""

ANSWERS = {
    "/robots.txt": Answer(200, (), b"User-agent: *\nDisallow: /secret/\n"),
    "/moved": Answer(301, (("Location", "/new"),)),
    "/away": Answer(302, (("Location", "https://other.example/away"),)),
    "/loop": Answer(302, (("Location", "/loop"),)),
    "/broken": Answer(500),
}


class CountedSite:
    """Six pages, one redirect to the last of them, and a URL of each other kind."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path in ANSWERS:
            return ANSWERS[path]
        if path not in FETCHED:
            return Answer(404)
        links = {"/": LINKS, "/a": MORE}.get(path, ())
        anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
        body = f"<title>{path}</title><p>{path}</p>{anchors}".encode()
        return Answer(200, (("Content-Type", HTML),), body)
