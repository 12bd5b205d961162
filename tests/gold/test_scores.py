"""The scores of our extractor against the gold: on our own pages, and on real documentation."""

import os
from pathlib import Path
from statistics import fmean

import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import ExtractOptions, PageSource, extract
from tests.gold.score import ThemeScore, score
from tests.gold.themes import HALVES, Half

ENOUGH = 10  # themes of a half
DOCS = os.environ.get("CRAWLYARD_TEST_GOLD", "")
"""The folder of packages that ``python -m tests.gold.fetch DIR`` makes."""


def markdown(body: bytes, url: str) -> str:
    source = PageSource(url=url, options=ExtractOptions(text=TextMode.MARKDOWN))
    return extract(body, source).text or ""


def summary(scores: list[ThemeScore]) -> str:
    return ", ".join(f"{s.name} {s.recall:.3f} {s.precision:.3f}" for s in scores)


@pytest.mark.parametrize(("half", "precision"), [("read", 0.95), ("unread", 0.82)])
def test_our_own_pages_keep_their_words(half: Half, precision: float, tmp_path: Path) -> None:
    [own] = score(markdown, tmp_path, half, markdown=True)
    assert own.recall >= 0.95, summary([own])
    assert own.precision >= precision, summary([own])


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
def test_documentation_keeps_its_words(half: Half) -> None:
    if not DOCS:
        pytest.skip("python -m tests.gold.fetch DIR, and CRAWLYARD_TEST_GOLD=DIR")
    scores = score(markdown, Path(DOCS), half, markdown=True)
    assert len(scores) > ENOUGH, summary(scores)
    assert fmean(theme.recall for theme in scores) >= 0.95, summary(scores)
    assert fmean(theme.precision for theme in scores) >= 0.90, summary(scores)
    least = (0.95, 0.90) if half == "read" else (0.80, 0.70)
    low = [theme for theme in scores if theme.recall < least[0] or theme.precision < least[1]]
    assert not low, summary(low)
