"""The queue beside Procrastinate's and SAQ's, with few and with many jobs that wait.

``python -m bench.queue --postgres URL --redis URL`` measures on SQLite and on two servers of
which nothing is kept; without a URL, what needs it is left out. Progress goes to stderr, the
tables to stdout. A small run: ``--waiting 100 --rounds 1 --taken 100 --dispatched 20``.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from bench.queue_of_ours import Ours
from bench.queues import Contender, Counts, Figures, figures, tell
from bench.queues_of_others import Procrastinate, Saq


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("--postgres", default="", help="URL of a database; all in it is deleted")
    parser.add_argument("--redis", default="", help="URL of a Redis; all in it is deleted")
    parser.add_argument("--waiting", default="100,100000,1000000", help="sizes, with commas")
    parser.add_argument("--rounds", type=int, default=3, help="of each size, all in turn")
    parser.add_argument("--single", type=int, default=300, help="jobs enqueued one by one")
    parser.add_argument("--at-once", type=int, default=16, help="callers that enqueue so at once")
    parser.add_argument("--batch", type=int, default=10_000, help="jobs enqueued at once")
    parser.add_argument("--taken", type=int, default=2_000, help="jobs that are taken")
    parser.add_argument("--takers", type=int, default=4, help="who take them at once")
    parser.add_argument("--dispatched", type=int, default=200, help="jobs given to an idle worker")
    parser.add_argument("--hold", action="store_true", help="a long transaction beside it")
    parser.add_argument("--only", default="", help="a part of the names of those that are measured")
    parser.add_argument("--folder", type=Path, help="for the file of SQLite")
    parser.add_argument("--work", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _contenders(options: argparse.Namespace, folder: Path) -> Sequence[Contender]:
    every: list[Contender] = [Ours("Crawlyard, SQLite", embedded=True, folder=folder)]
    if options.postgres:
        url = options.postgres
        every += [
            Ours("Crawlyard, Postgres", embedded=False, folder=folder, database_url=url),
            Procrastinate(url),
            Saq(url, "SAQ, Postgres"),
        ]
    if options.redis:
        every.append(Saq(options.redis, "SAQ, Redis"))
    return [one for one in every if options.only in one.name]


def _line(name: str, runs: Sequence[Figures]) -> str:
    rates = (
        median(run.single_per_s for run in runs),
        median(run.at_once_per_s for run in runs),
        median(run.batch_per_s for run in runs),
        median(run.takes_per_s for run in runs),
    )
    take = _shares([run.take_ms for run in runs])
    dispatch = _shares([run.dispatch_ms for run in runs])
    cells = [f"{rate:,.0f}" for rate in rates] + [f"{ms:,.1f}" for ms in (*take, *dispatch)]
    return f"| {name} | {' | '.join(cells)} |"


def _shares(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the medians over rounds of p50 and p99."""
    cuts = [quantiles(each, n=100, method="inclusive") for each in rounds]
    return median(cut[49] for cut in cuts), median(cut[98] for cut in cuts)


_HEAD = (
    "| {waiting:,} waiting | enqueued/s | by {at_once} at once/s | batched/s | taken/s "
    "| take p50 ms | p99 | dispatch p50 ms | p99 |\n|---|---|---|---|---|---|---|---|---|\n"
)


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    counts = Counts(
        single=options.single,
        at_once=options.at_once,
        batch=options.batch,
        taken=options.taken,
        takers=options.takers,
        dispatched=options.dispatched,
    )
    contenders = _contenders(options, folder)
    for waiting in map(int, options.waiting.split(",")):
        runs: dict[str, list[Figures]] = {one.name: [] for one in contenders}
        for turn in range(1, options.rounds + 1):
            for one in contenders:
                run = await figures(one, waiting, counts, hold=options.hold)
                runs[one.name].append(run)
                told = _line(one.name, [run])
                load = f"load {os.getloadavg()[0]:.1f}"
                sys.stderr.write(f"{waiting:,} {turn}/{options.rounds} {told} {load}\n")
        sys.stdout.write(_HEAD.format(waiting=waiting, at_once=counts.at_once))
        for name, each in runs.items():
            sys.stdout.write(f"{_line(name, each)}\n")
        sys.stdout.write("\n")
        sys.stdout.flush()


async def _main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as made:
        folder = Path(made)
        if not options.work:
            await _measure(options, folder)
            return
        (worker,) = (one for one in _contenders(options, folder) if one.name == options.work)
        await worker.work(tell)


if __name__ == "__main__":
    asyncio.run(_main())
