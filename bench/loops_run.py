"""The loops of `bench.loops` as crawlers, measured without their start."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.crawlers import Crawler, records_in, result_of

_ROOT = str(Path(__file__).parents[1])
_PATH = ("PYTHONPATH", os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH")))))


def _loop(name: str, word: str, *paths: str) -> Crawler:
    command = [sys.executable, "-m", "bench.loops", word]
    return Crawler(
        name,
        lambda url, at_once: [*command, url, str(at_once), *paths],
        lambda folder: result_of(records_in(folder)),
        (_PATH,),
    )


ENGINE = _loop("Engine, nothing stored", "engine")


def loops(paths: Path) -> Iterator[Crawler]:
    """Yield the loops, the engine first; those without logic fetch what the file *paths* lists."""
    yield ENGINE
    yield _loop("Fetch and parse, no logic", "bare", str(paths))
    yield _loop("Fetch and extract, no logic", "extract", str(paths))
    yield _loop("Fetch alone", "fetch", str(paths))
