"""The search in pages: ``python -m bench.search pages``, ``crawl`` or ``behind``.

``pages`` stores 100,000 pages, indexes them, and asks for words with the index and without it.
``crawl`` tells the CPU of a crawl of the demo site with the index and without it, in turns, and
what indexing takes after a crawl without it; with ``--site DIR`` also of a folder of HTML files.
``behind`` crawls while the index is made, and tells how old the oldest page was that it did not
have. A small run: ``pages --pages 2000``, ``crawl --pages 300 --rounds 1``.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from statistics import median

from tests.jobs import submit

from bench.child import serving
from crawlyard import LOCAL, JobSpec, Settings, Yard
from crawlyard.core.crawl.page import Body, Outcome, Page, Target, TargetState
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.search.search import words_of
from crawlyard.engine.urls import fingerprint
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.search.indexer import Indexer
from crawlyard.services.search.search import Archive
from crawlyard.store.queries import ArchiveQuery

_OF_JOB = 10_000  # pages
_AT_ONCE = 200  # pages of a checkpoint
_WORDS = 300  # of a page
_VOCABULARY = 60_000
_SYLLABLES = tuple(c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "an", "er"))
_HAN = tuple(map(chr, range(0x4E00, 0x4E00 + 3000)))
_LEASE = timedelta(hours=1)
_LIMIT = 50
_LOOK_S = 0.1
_DEMO = "crawlyard.demo"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("what", choices=("pages", "crawl", "behind"))
    parser.add_argument("--pages", type=int, help="100,000; of the demo site: 3,000")
    parser.add_argument("--rounds", type=int, help="of each question 21; of a crawl 5")
    parser.add_argument("--site", type=Path, help="a folder of HTML files, for crawl")
    parser.add_argument("--postgres", default="", help="URL of an empty database, for pages")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


class Texts:
    """Made-up texts, alike in each run: words as frequent as in a language, and some Chinese."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        some = {"".join(self._random.choices(_SYLLABLES, k=n)) for n in (2, 3, 4, 5) * 20_000}
        self.words = sorted(some)[:_VOCABULARY]
        self._random.shuffle(self.words)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self.words) + 1)))

    def text(self, number: int) -> str:
        """Return the text of a page: one of 20 has a paragraph in Chinese."""
        words = self._random.choices(self.words, cum_weights=self._weights, k=_WORDS)
        if number % 20 == 0:
            words.append("".join(self._random.choices(_HAN, k=100)))
        if number % 5000 == 100:
            words.append("needleinahaystack quick brown fox 漢語拼音方案")
        return " ".join(words)


async def fill(yard: Yard, count: int) -> None:
    """Store *count* pages of made-up jobs, as crawls do."""
    texts, store = Texts(), yard.store
    for first in range(0, count, _OF_JOB):
        job = await submit(yard, JobSpec(urls=("https://bench.example/",)))
        now = yard.clock.now()
        claim = await store.leases.claim(Asker("bench", only=job.id), now, _LEASE)
        if claim is None:
            raise RuntimeError("another worker claimed the job")
        lease = claim.lease
        for start in range(first, min(first + _OF_JOB, count), _AT_ONCE):
            upto = min(start + _AT_ONCE, first + _OF_JOB, count)
            outcomes = [_outcome(n, texts.text(n), now) for n in range(start, upto)]
            usage = Usage(pages=len(outcomes), discovered=len(outcomes), done=len(outcomes))
            batch = Batch(
                found=tuple(o.target for o in outcomes), outcomes=tuple(outcomes), usage=usage
            )
            [answer] = await store.frontier.record([(lease, batch)], now, _LEASE)
            lease = answer.lease
        _log(f"{min(first + _OF_JOB, count):,} pages stored")


def _outcome(number: int, text: str, now: datetime) -> Outcome:
    url = f"https://bench.example/section-{number % 97}/page-{number}"
    target = Target(url=url, fp=fingerprint(url), host="bench.example")
    page = Page(
        url=url,
        final_url=url,
        status=200,
        content_type="text/html",
        fetched_at=now,
        elapsed_ms=1,
        bytes=len(text),
        title=text[:40],
        depth=1,
    )
    return Outcome(target, TargetState.DONE, page, {Body.TEXT: text.encode()})


def questions(texts: Texts) -> Iterator[tuple[str, str]]:
    """Yield what is asked, by a name for it."""
    yield "a common word", texts.words[3]
    yield "a word of 1 page in 100", texts.words[2000]
    yield "a rare word", "needleinahaystack"
    yield "a part of a rare word", "inahays"
    yield "two words", f"{texts.words[30]} {texts.words[900]}"
    yield "a phrase", '"quick brown fox"'
    yield "a phrase of common words", f'"{texts.words[1]} {texts.words[2]} {texts.words[5]}"'
    yield "Chinese", "漢語拼音"
    yield "one Chinese letter", _HAN[77]
    yield "none", "nowheretobefound"
    yield "none, of known words", f"{texts.words[40_000]} {texts.words[40_001]}"


async def pages(options: argparse.Namespace) -> None:
    """Ask a yard with many pages."""
    count, rounds = options.pages or 100_000, options.rounds or 21
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(data_dir=Path(folder), database_url=options.postgres)
        async with Yard.open(settings) as yard:
            await fill(yard, count)
            before = await yard.store.upkeep.size()
            began, spent = time.monotonic(), _spent()
            await Indexer(yard.store, yard.clock).catch_up()
            took, cpu = time.monotonic() - began, _spent() - spent
            room = await yard.store.upkeep.size() - before
            _print(
                f"{count:,} pages: {before / count:,.0f} bytes a page, {room / count:,.0f} more by "
                f"the index, made in {took:.0f} s with {cpu / count * 1e6:.0f} µs of CPU a page "
                f"in this process; load {os.getloadavg()[0]:.1f}"
            )
            _print(
                "| words | found | median ms | p95 ms | CPU ms | without the index ms "
                "| it has looked at |"
            )
            _print("|---|---|---|---|---|---|---|")
            for name, phrase in questions(Texts()):
                _print(await _row(yard, name, phrase, rounds))


async def _row(yard: Yard, name: str, phrase: str, rounds: int) -> str:
    words = words_of(phrase)
    indexed = yard.services.archive
    scanning = Archive(yard.store, yard.clock, indexed=False)
    took, cpu, count = [], [], 0
    for _ in range(rounds + 1):
        began, spent = time.perf_counter(), _spent()
        answer = await indexed.search(LOCAL, ArchiveQuery(), _LIMIT, words)
        took.append((time.perf_counter() - began) * 1000)
        cpu.append((_spent() - spent) * 1000)
        count = len(answer.pages)
    later = sorted(took[1:])
    began = time.perf_counter()
    scan = await scanning.search(LOCAL, ArchiveQuery(), _LIMIT, words)
    scanned = (time.perf_counter() - began) * 1000
    more = "+" if answer.further is not None else ""
    looked = f"{scan.looked_at:,}{', cut short' if scan.cut_short else ''}"
    p95 = later[min(len(later) - 1, int(len(later) * 0.95))]
    return (
        f"| {name} | {count}{more} | {median(later):.0f} | {p95:.0f} | {median(cpu[1:]):.0f} "
        f"| {scanned:.0f}, {len(scan.pages)} found | {looked} |"
    )


async def crawl(options: argparse.Namespace) -> None:
    """Crawl with the index and without it, in turns."""
    count, rounds = options.pages or 3000, options.rounds or 5
    _print(
        "| site | pages | crawl ms | with the index ms | ratio | indexing afterwards ms | share |"
    )
    _print("|---|---|---|---|---|---|---|")
    async with serving(_DEMO, "--plain", "--pages", str(count)) as (_, url):
        _print(await _compare("the demo site", url, rounds))
    if options.site:
        async with serving(_DEMO, "--folder", str(options.site)) as (_, url):
            _print(await _compare(options.site.name, url, rounds))
    _print(f"CPU a page, medians of {rounds}; load {os.getloadavg()[0]:.1f}")


async def _compare(name: str, url: str, rounds: int) -> str:
    spent: dict[str, list[float]] = {"with": [], "crawl": [], "index": []}
    for turn in range(rounds):
        for indexed in (True, False) if turn % 2 else (False, True):
            result = await _crawl_in_child(url, indexed=indexed)
            _log(f"{name}, index {'on' if indexed else 'off'}: {result}")
            pages = result["pages"] / 1000
            spent["with" if indexed else "crawl"].append(result["cpu_s"] / pages)
            if not indexed:
                spent["index"].append(result["index_s"] / pages)
    ratio = median(a / b for a, b in zip(spent["with"], spent["crawl"], strict=True))
    share = median(a / b for a, b in zip(spent["index"], spent["crawl"], strict=True))
    with_it, crawl, index = (median(spent[series]) for series in spent)
    return (
        f"| {name} | {result['pages']:,} | {crawl:.3f} | {with_it:.3f} | {ratio:.2f} | {index:.3f} "
        f"| {share:.1%} |"
    )


async def behind(options: argparse.Namespace) -> None:
    """Crawl a larger site and look all the time."""
    count = options.pages or 20_000
    async with serving(_DEMO, "--plain", "--pages", str(count)) as (_, url):
        result = await _crawl_in_child(url, indexed=True, watched=True)
    _print(
        f"{result['pages']:,} pages in {result['took_s']:.0f} s: the index was at most "
        f"{result['behind_s']:.1f} s behind; load {os.getloadavg()[0]:.1f}"
    )


async def _crawl_in_child(url: str, *, indexed: bool, watched: bool = False) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        arguments = json.dumps(
            {"url": url, "folder": folder, "indexed": indexed, "watched": watched}
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.search", "crawl", "--child", arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError("the crawl failed")
        result: dict[str, float] = json.loads(out)
        return result


async def child(url: str, folder: str, *, indexed: bool, watched: bool) -> None:
    """Crawl a site to its end, and index it; write what that took."""
    async with Yard.open(Settings(data_dir=Path(folder))) as yard:
        spec = JobSpec(urls=(url,), concurrency=16, per_host=16, delay_s=0, allow_private=True)
        job = await submit(yard, spec)
        ages: list[float] = []
        began, spent = time.monotonic(), _spent()
        indexer = Indexer(yard.store, yard.clock)
        beside = [asyncio.create_task(indexer.run())] if indexed else []
        beside += [asyncio.create_task(_watch(yard, ages))] if watched else []
        await yard.worker(only=job.id).run()
        took = time.monotonic() - began
        if indexed:
            await indexer.catch_up()
        cpu, spent = _spent() - spent, _spent()
        await indexer.catch_up()
        later = _spent() - spent
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        done = await find_job(yard.store, LOCAL, job.id)
        result = {"cpu_s": cpu, "index_s": later, "took_s": took}
        result["behind_s"] = max(ages, default=0.0)
        sys.stdout.write(json.dumps(result | {"pages": done.shard.usage.pages}))


async def _watch(yard: Yard, ages: list[float]) -> None:
    """Note how long the oldest page has been stored that is not in the index."""
    newest: deque[tuple[float, int]] = deque()
    while True:
        now, state = time.monotonic(), await yard.store.page_index.state()
        if not newest or newest[-1][1] < state.newest:
            newest.append((now, state.newest))
        while newest and newest[0][1] <= state.high and state.low == 0:
            newest.popleft()
        ages.append(now - newest[0][0] if newest else 0.0)
        await asyncio.sleep(_LOOK_S)


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Measure what is asked for."""
    options = _options()
    if options.child:
        asyncio.run(child(**json.loads(options.child)))
        return 0
    asyncio.run({"pages": pages, "crawl": crawl, "behind": behind}[options.what](options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
