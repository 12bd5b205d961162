"""A site whose pages never read the same: a clock, a counter, advertisements and tokens."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from secrets import token_hex

from crawlyard.demo.site import HTML, Answer

ADVERTISEMENTS = (
    ("Buy shoes today.", "They are red."),
    ("A hat for everyone.", "It is black."),
    ("Tea, from the hills.", "Now with more leaves."),
)


class NoisySite:
    """Pages of one paragraph, linked from the first; `second` says what the next visit gets."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self.pages = dict(pages)
        self.hits: Counter[str] = Counter()
        self.second: dict[str, Answer] = {}  # in place of the page: to its next even request
        self.noisy = True
        self._sent: Counter[str] = Counter()

    def answer(self, method: str, path: str, host: str) -> Answer:
        del method, host
        if path not in self.pages:
            return Answer(404)
        self.hits[path] += 1
        self._sent[path] += 1
        if path in self.second and self.hits[path] % 2 == 0:
            return self.second.pop(path)
        return Answer(200, (("Content-Type", HTML),), self._page(path).encode())

    def _page(self, path: str) -> str:
        links = "".join(f'<li><a href="{to}">{to}</a>' for to in self.pages if to != path)
        return (
            f"<!doctype html><title>{path}</title><main><h1>Page {path}</h1>{self._noise(path, 0)}"
            f"<p>{self.pages[path]}</p><p>{'It has more to say. ' * 9}</p>"
            f"{self._noise(path, 1)}<ul>{links}</ul></main>"
        )

    def _noise(self, path: str, place: int) -> str:
        if not self.noisy:
            return ""
        turn = self._sent[path] + place
        title, text = ADVERTISEMENTS[turn % len(ADVERTISEMENTS)]
        return (
            f"<p>It is {datetime.now(UTC).isoformat()}</p><p>You are visitor {turn}."
            f"</p><div class=box><h3>{title}</h3><p>{text}</p></div>"
            f"<p>Token: <code>{token_hex(8)}</code></p>"
        )


def a_noisy_site(pages: int = 12) -> NoisySite:
    """Return a site of so many pages."""
    paths = ["/", *(f"/p{n}" for n in range(1, pages))]
    return NoisySite({path: f"The text of {path} is its own." for path in paths})
