"""Words from the command line, from a file, or from stdin."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from crawlyard.core.jobs.spec import MAX_SEEDS
from crawlyard.errors import Invalid

STDIN = "-"


def read_seeds(words: Sequence[str]) -> list[str]:
    """Return the start URLs in *words*: ``-`` is stdin, ``@FILE`` a file, each once.

    Raises:
        Invalid: a file cannot be read or is not text, or there are too many URLs.
    """
    seeds: dict[str, None] = {}
    for url in _spread(words):
        seeds[url] = None
        if len(seeds) > MAX_SEEDS:
            raise Invalid("urls", f"expected at most {MAX_SEEDS:,} start URLs; use a sitemap")
    return list(seeds)


def read_ids(words: Sequence[str]) -> list[str]:
    """Return the ids in *words*, each once; ``-`` reads them from stdin.

    Raises:
        Invalid: stdin is not text.
    """
    ids: dict[str, None] = {}
    for word in words:
        ids |= dict.fromkeys(_lines(sys.stdin, "stdin") if word == STDIN else (word,))
    return list(ids)


def _spread(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word == STDIN:
            yield from _lines(sys.stdin, "stdin")
        elif word.startswith("@"):
            name = word[1:]
            try:
                with Path(name).open(encoding="utf-8-sig") as file:
                    yield from _lines(file, name)
            except OSError as error:
                raise Invalid("urls", f"cannot read {name}: {error.strerror}") from error
        else:
            yield word


def _lines(file: Iterable[str], name: str) -> Iterator[str]:
    """Yield the lines that are neither blank nor start with ``#``."""
    try:
        for line in file:
            word = line.strip()
            if word and not word.startswith("#"):
                yield word
    except UnicodeDecodeError:
        raise Invalid("urls", f"expected UTF-8 text in {name}, one URL per line") from None
