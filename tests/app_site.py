"""Sites whose pages are nothing without their scripts: shells, feeds, walls, late content."""

import json
from urllib.parse import parse_qs, urlsplit

from crawlyard.demo.site import HTML, Answer

_TYPES = {"js": "text/javascript", "json": "application/json"}
_FEED = 5  # articles of a part
_PARTS = 4

_APP = """
const root = document.getElementById('root');
async function show(path) {
  const data = await (await fetch('/api' + path + '.json')).json();
  document.title = data.title;
  root.innerHTML = '<h1></h1><p id="text"></p><nav></nav>';
  root.querySelector('h1').textContent = data.title;
  root.querySelector('#text').textContent = data.text;
  for (const to of data.links) {
    const a = document.createElement('a');
    a.href = a.textContent = to;
    a.onclick = (event) => { event.preventDefault(); history.pushState({}, '', to); show(to); };
    root.querySelector('nav').append(a, ' ');
  }
}
show(location.pathname);
"""

_FEED_JS = """
let part = 0, busy = false;
const list = document.getElementById('root');
async function more() {
  if (busy) return;
  busy = true;
  for (const text of await (await fetch('/api/feed.json?part=' + part++)).json()) {
    const p = document.createElement('p');
    p.textContent = text;
    p.style.height = '400px';
    list.append(p);
  }
  busy = false;
}
addEventListener('scroll', more);
more();
"""

_WALL_JS = """
document.getElementById('accept').addEventListener('click', async () => {
  const text = await (await fetch('/api/behind.json')).json();
  document.body.innerHTML = '<p id="behind"></p>';
  document.getElementById('behind').textContent = text;
});
"""

_LATE_JS = """
setTimeout(() => {
  const p = document.createElement('p');
  p.id = 'late';
  p.textContent = 'It was late. '.repeat(20);
  document.body.append(p);
}, 1200);
"""


def _shell(script: str, body: str = '<div id="root"></div>') -> str:
    return f"<!doctype html><title>Shop</title><body>{body}<script src={script}></script>"


class AppSite:
    """An application of *pages* pages, ``/``, ``/p/1`` and so on, served as one shell.

    It also has a feed that grows on scrolling, a consent wall, and a page whose content comes
    late; no page links to these.
    """

    def __init__(self, pages: int, *, wide: int = 10) -> None:
        self.pages = pages
        self._wide = wide
        self._scripts = {
            "/app.js": _APP,
            "/feed.js": _FEED_JS,
            "/wall.js": _WALL_JS,
            "/late.js": _LATE_JS,
        }
        self._shells = {
            "/feed": _shell("/feed.js"),
            "/wall": _shell("/wall.js", "<p>We use cookies.<button id=accept>Accept</button>"),
            "/late": _shell("/late.js"),
        }

    @staticmethod
    def path(number: int) -> str:
        """Return the path of a page; 0 is the first."""
        return f"/p/{number}" if number else "/"

    def answer(self, method: str, path: str, host: str) -> Answer:
        """Return the answer to a request: a shell, a script or data."""
        del method, host
        parts = urlsplit(path)
        kind = _TYPES.get(parts.path.rpartition(".")[2], HTML)
        body = self._body(parts.path, parts.query)
        headers = (("Content-Type", kind), ("ETag", '"1"'))
        return Answer(404) if body is None else Answer(200, headers, body.encode())

    def _body(self, path: str, query: str) -> str | None:
        if path in self._scripts:
            return self._scripts[path]
        if path in self._shells:
            return self._shells[path]
        if path == "/api/feed.json":
            return json.dumps(_feed(int(parse_qs(query)["part"][0])))
        if path == "/api/behind.json":
            return json.dumps("Behind the wall. " * 20)
        is_data = path.startswith("/api/")
        number = _number(path.removeprefix("/api").removesuffix(".json") if is_data else path)
        if number is None or number >= self.pages:
            return None
        return json.dumps(self._data(number)) if is_data else _shell("/app.js")

    def _data(self, number: int) -> dict[str, object]:
        first = number * self._wide + 1
        links = range(first, min(first + self._wide, self.pages))
        return {
            "title": f"Page {number}",
            "text": f"This is page {number}. " * 20,
            "links": [self.path(link) for link in links],
        }


def _number(path: str) -> int | None:
    if path == "/":
        return 0
    word = path.removeprefix("/p/")
    return int(word) if path != word and word.isdecimal() else None


def _feed(part: int) -> list[str]:
    first = part * _FEED
    some = range(first, first + _FEED if part < _PARTS else first)
    return [f"Article {number} of the feed." for number in some]
