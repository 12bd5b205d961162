"""How true the time left is: ``python -m bench.time_left [--plot FILE] [--json FILE]``.

Crawls sites of different shapes by a yard in this process, looks at the progress of each twice
a second, and compares the range with the time that was really left. ``--url`` crawls a site of
your own instead.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.time_left_sites import SHAPES
from crawlyard import LOCAL, JobSpec, Settings, TextMode, Yard
from crawlyard.core.jobs.progress import progress_of_standing

EVERY_S = 0.5
EARLY_S = 5.0  # what is said before is not judged


@dataclass(frozen=True, slots=True)
class Look:
    """What was said at one moment, in seconds."""

    at_s: float  # since the crawl began
    left_s: float  # the truth
    p10_s: float | None
    p50_s: float | None
    p90_s: float | None
    unknown: str
    done: int
    discovered: int

    @property
    def inside(self) -> bool:
        """Tell whether the range has the truth."""
        return (
            self.p10_s is not None
            and self.p90_s is not None
            and (self.p10_s <= self.left_s <= self.p90_s)
        )


@dataclass(frozen=True, slots=True)
class Course:
    """One crawl, and what was said during it."""

    name: str
    seconds: float
    looks: Sequence[Look]

    @property
    def judged(self) -> Sequence[Look]:
        """Return what was said after the first seconds."""
        return [look for look in self.looks if look.at_s >= EARLY_S]


@dataclass(frozen=True, slots=True)
class Score:
    """How good the ranges of one crawl, or of several, are."""

    looks: int
    ranged: float  # share of looks with a range
    inside: float  # share of those that have the truth
    width: float  # median width of the second half, as a share of the truth


def score(courses: Sequence[Course]) -> Score:
    """Return the score over all looks of *courses*."""
    looks = [look for course in courses for look in course.judged]
    ranged = [look for look in looks if look.p10_s is not None]
    widths = [
        (look.p90_s - look.p10_s) / look.left_s
        for course in courses
        for look in course.judged
        if look.p10_s is not None and look.p90_s is not None
        if look.at_s >= course.seconds / 2 and look.left_s > 0
    ]
    return Score(
        looks=len(looks),
        ranged=len(ranged) / max(1, len(looks)),
        inside=sum(look.inside for look in ranged) / max(1, len(ranged)),
        width=median(widths) if widths else 0.0,
    )


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """Serve the sites by a process of its own; give its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.time_left_sites", stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def crawl(name: str, wants: Mapping[str, Any]) -> Course:
    """Crawl one site, and return what was said of the time left."""
    spec = JobSpec(name=name, text=TextMode.NONE, allow_private=True, **wants)
    looks: list[tuple[float, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Yard.open(Settings(data_dir=Path(folder))) as yard:
            job = await yard.jobs.submit(LOCAL, spec)
            worker = asyncio.create_task(yard.worker(only=job.id).run())
            began = None
            while not (standing := await yard.jobs.get(LOCAL, job.id)).job.state.ended:
                began = began or standing.job.started_at
                if began is not None:
                    at_s = (yard.clock.now() - began).total_seconds()
                    looks.append((at_s, _said(progress_of_standing(standing))))
                await asyncio.sleep(EVERY_S)
            await worker
            ended = standing.job.ended_at
            if began is None or ended is None:
                raise RuntimeError(f"{name} has ended without having begun")
            took_s = (ended - began).total_seconds()
    return Course(
        name, took_s, [Look(at_s, took_s - at_s, **said) for at_s, said in looks if at_s < took_s]
    )


def _said(progress: Any) -> dict[str, Any]:
    eta = progress.eta
    return {
        "p10_s": eta and eta.p10_s,
        "p50_s": eta and eta.p50_s,
        "p90_s": eta and eta.p90_s,
        "unknown": progress.eta_unknown,
        "done": progress.done,
        "discovered": progress.discovered,
    }


async def measure(names: Sequence[str], at_once: int) -> list[Course]:
    """Crawl the shapes of those names, so many at once."""
    room = asyncio.Semaphore(at_once)

    async def one(name: str, wants: Mapping[str, Any]) -> Course:
        async with room:
            course = await crawl(name, wants)
            sys.stderr.write(f"{name}: {course.seconds:.1f} s\n")
            return course

    async with served() as port:
        shapes = [shape for shape in SHAPES if shape.name in names]
        return await asyncio.gather(*(one(shape.name, shape.spec(port)) for shape in shapes))


def table(courses: Sequence[Course]) -> str:
    """Return the scores as a table."""
    lines = [
        "| crawl | took s | looks | with a range | truth inside | of all looks | width |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [(course.name, course.seconds, score([course])) for course in courses]
    rows.append(("**all**", sum(course.seconds for course in courses), score(courses)))
    for name, seconds, one in rows:
        lines.append(
            f"| {name} | {seconds:.0f} | {one.looks} | {one.ranged:.0%} | {one.inside:.0%} "
            f"| {one.inside * one.ranged:.0%} | {one.width:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the table, and draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.time_left", description=__doc__)
    names = [shape.name for shape in SHAPES]
    parser.add_argument("shapes", nargs="*", default=names, help=f"of {', '.join(names)}")
    parser.add_argument("--at-once", type=int, default=2, help="crawls under way at once")
    parser.add_argument("--url", action="append", help="crawl this site instead")
    parser.add_argument("--delay", type=float, default=0.02, help="between requests, with --url")
    parser.add_argument("--json", type=Path, help="write what was said to this file")
    parser.add_argument("--plot", type=Path, help="draw it (needs matplotlib)")
    options = parser.parse_args()
    if options.url:
        courses = [
            asyncio.run(crawl(url, {"urls": (url,), "delay_s": options.delay, "per_host": 4}))
            for url in options.url
        ]
    else:
        courses = asyncio.run(measure(options.shapes, options.at_once))
    sys.stdout.write(table(courses))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in courses]), encoding="utf-8")
    if options.plot:
        from bench.time_left_plot import draw  # noqa: PLC0415 - matplotlib is an extra

        draw(courses, options.plot)


if __name__ == "__main__":
    main()
