"""Score an extractor of main content against the gold: `python -m tests.gold.score DIR`.

Without `--extract` it scores what turbohtml has of its own, `main_text()`, as the baseline.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import turbohtml

from tests.gold.themes import HALVES, Half, Theme, themes
from tests.gold.words import Gold, Words, gold, strip_markdown, words

Extract = Callable[[bytes, str], str]

PAGES = 16  # of a theme
SHORTEST = 50  # words of gold: below that a page says little
LONGEST = 60_000  # words of gold: above that a page weighs on the run, not on the score
OWN = Path(__file__).parent / "pages"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldPage:
    """A page to score, with the words it must have."""

    name: str
    body: bytes
    gold: Gold


@dataclass(frozen=True, slots=True, kw_only=True)
class PageScore:
    """Recall and precision of one page."""

    page: str
    recall: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThemeScore:
    """Scores of a theme: the means over its pages."""

    name: str
    half: Half
    pages: tuple[PageScore, ...]

    @property
    def recall(self) -> float:
        """The mean share of the gold's words that the text has."""
        return fmean(page.recall for page in self.pages)

    @property
    def precision(self) -> float:
        """The mean share of the text's words that the gold has."""
        return fmean(page.precision for page in self.pages)

    @property
    def worst(self) -> PageScore:
        """The page whose recall and precision are lowest, taken together."""
        return min(self.pages, key=lambda page: (page.recall * page.precision, page.page))


def score(
    extract: Extract, root: Path, half: str | None = None, *, markdown: bool = False
) -> list[ThemeScore]:
    """Score the extractor on each theme whose packages are there, and on our own pages.

    Args:
        extract: gives the text of a page from its bytes and its URL.
        root: the folder of unpacked packages that `tests.gold.fetch` makes.
        half: "read" or "unread"; both without it.
        markdown: the text is Markdown, whose marks and link targets do not count.

    Raises:
        ValueError: there is no such half.
    """
    if half not in {None, *HALVES}:
        raise ValueError(f"no half of this name: {half}")
    results = []
    for of in HALVES if half is None else [h for h in HALVES if h == half]:
        sets = [(theme.name, choose_pages(theme, root)) for theme in themes(of)]
        for name, pages in [*sets, ("our own pages", own_pages(of))]:
            scores = tuple(_score(extract, page, markdown=markdown) for page in pages)
            if scores:
                results.append(ThemeScore(name=name, half=of, pages=scores))
    return results


def choose_pages(theme: Theme, root: Path) -> list[GoldPage]:
    """The pages of a theme that count: evenly spaced, the next one where one is too short."""
    files = theme.files(root)
    selected: list[GoldPage] = []
    for slot in range(min(PAGES, len(files))):
        first, last = (len(files) * at // min(PAGES, len(files)) for at in (slot, slot + 1))
        for path in files[first:last][:40]:
            body = path.read_bytes()
            of = gold(body, theme)
            if SHORTEST <= of.words.total() <= LONGEST:
                selected.append(
                    GoldPage(name=path.relative_to(root).as_posix(), body=body, gold=of)
                )
                break
    return selected


def own_pages(half: Half) -> list[GoldPage]:
    """Our own pages of one half, each with its text beside it."""
    return [
        GoldPage(
            name=path.name,
            body=path.read_bytes(),
            gold=Gold(words(path.with_suffix(".txt").read_text()), Words()),
        )
        for path in sorted((OWN / half).glob("*.html"))
    ]


def _score(extract: Extract, page: GoldPage, *, markdown: bool) -> PageScore:
    text = extract(page.body, f"https://docs.example/{page.name}")
    has = words(strip_markdown(text) if markdown else text)
    must, may = page.gold.words, page.gold.words + page.gold.optional
    return PageScore(
        page=page.name,
        recall=(has & must).total() / must.total(),
        precision=(has & may).total() / has.total() if has else 0.0,
    )


def baseline(body: bytes, _: str) -> str:
    """The main text as turbohtml finds it."""
    return turbohtml.parse(body, detect_encoding=True).main_text()


def table(scores: list[ThemeScore]) -> Iterator[str]:
    """The lines of the table, with the means of each half below its themes."""
    row = "{:<27} {:<7} {:>5} {:>7} {:>10}  {}".format
    yield row("theme", "half", "pages", "recall", "precision", "worst page")
    for half in HALVES:
        of = [s for s in scores if s.half == half]
        for s in of:
            worst = f"{s.worst.recall:.2f} / {s.worst.precision:.2f}  {s.worst.page}"
            means = f"{s.recall:.3f}", f"{s.precision:.3f}"
            yield row(s.name, half, len(s.pages), *means, worst)
        if of:
            recall, precision = fmean(s.recall for s in of), fmean(s.precision for s in of)
            least = f"{min(s.recall for s in of):.2f} / {min(s.precision for s in of):.2f}"
            pages = sum(len(s.pages) for s in of)
            yield row("all", half, pages, f"{recall:.3f}", f"{precision:.3f}", f"least: {least}")


def _details(extract: Extract, pages: list[GoldPage], *, markdown: bool) -> Iterator[str]:
    """For each page its score and the words that are most missed and most in excess."""
    for page in pages:
        s = _score(extract, page, markdown=markdown)
        text = extract(page.body, f"https://docs.example/{page.name}")
        has = words(strip_markdown(text) if markdown else text)
        yield f"{s.recall:.3f} {s.precision:.3f} {page.gold.words.total():>6} {page.name}"
        for sign, rest in (
            ("-", page.gold.words - has),
            ("+", has - page.gold.words - page.gold.optional),
        ):
            if rest:
                most = ", ".join(f"{w} {n}" for w, n in rest.most_common(12))
                yield f"    {sign} {rest.total()}: {most}"


def main() -> int:
    """Print the table, or the pages of one theme; 1 where no page was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder of unpacked packages")
    parser.add_argument("--half", choices=HALVES)
    parser.add_argument("--extract", help="package.module:function of (bytes, URL) -> text")
    parser.add_argument("--markdown", action="store_true", help="the function gives Markdown")
    parser.add_argument("--theme", help="print each page of one theme with the words it differs in")
    args = parser.parse_args()
    extract: Extract = baseline
    if args.extract:
        module, _, name = args.extract.partition(":")
        extract = getattr(importlib.import_module(module), name)
    if args.theme:
        of = [theme for theme in themes(args.half) if theme.name == args.theme]
        pages = [page for theme in of for page in choose_pages(theme, args.root)]
        lines = list(_details(extract, pages, markdown=args.markdown))
    else:
        lines = list(table(score(extract, args.root, args.half, markdown=args.markdown)))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if len(lines) > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
