"""Results of the rounds, as Markdown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.crawlers import Crawler, CrawlResult
from bench.measure import ProcessCost

WHOLE = 0.9  # of the pages of a site: a crawler that ends with fewer did not crawl it
_SHOWN = 10  # URLs of a difference
_NOTHING = "–"  # noqa: RUF001 - a cell without a figure


@dataclass(frozen=True, slots=True)
class Run:
    """Cost and result of one crawl."""

    cost: ProcessCost
    result: CrawlResult

    @property
    def pages_per_s(self) -> float:
        """Pages per second, from the start of the process to its end."""
        return len(self.result.pages) / self.cost.wall_s

    @property
    def cpu_s_per_1000(self) -> float:
        """CPU seconds per thousand pages."""
        return 1000 * self.cost.cpu_s / max(1, len(self.result.pages))

    @property
    def peak_mb(self) -> float:
        """Peak memory in millions of bytes."""
        return self.cost.peak_bytes / 1e6


Runs = Mapping[Crawler, Sequence[Run]]
_Measure = Callable[[Run], float]
_MEASURES: tuple[_Measure, ...] = (
    lambda run: run.pages_per_s,
    lambda run: run.cpu_s_per_1000,
    lambda run: run.peak_mb,
)


def table(runs: Runs, base: Crawler, starts: Mapping[Crawler, Run]) -> str:
    """Return a row per crawler: medians, and in brackets how many times those of *base*.

    The CPU of its start, which *starts* have, is in the other figures as well.

    A ratio is the median of the ratios within each round: what slows a whole round
    down does not move it.
    """
    lines = [
        "| crawler | pages/s | CPU s per 1,000 pages | peak MB | pages | requests | start, CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for crawler, of_it in runs.items():
        stopped = " (stopped)" if any(run.cost.stopped for run in of_it) else ""
        cells = [f"{crawler.name}{stopped}"]
        for measure in _MEASURES:
            value = median(map(measure, of_it))
            cells.append(f"{value:{_places(value)}} ({ratio(of_it, runs[base], measure):.2f})")
        cells += [_range(len(run.result.pages) for run in of_it)]
        requests = {run.result.requests for run in of_it}
        cells += [_range(requests) if all(requests) else _NOTHING]
        cells += [f"{starts[crawler].cost.cpu_s:.2f}" if crawler in starts else _NOTHING]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def brief(run: Run) -> str:
    """Return what became of one crawl, in a line."""
    suffix = ", stopped" if run.cost.stopped else ""
    return (
        f"{len(run.result.pages):,} pages in {run.cost.wall_s:.2f} s, "
        f"CPU {run.cost.cpu_s:.2f} s, {run.peak_mb:.0f} MB{suffix}"
    )


def loops(runs: Runs, limit: float | None) -> str:
    """Return what the loops take without their start, and how the first stands beside them."""
    lines = [
        "| loop, without its start | pages/s | CPU s per 1,000 pages | peak MB |",
        "|---|---|---|---|",
    ]
    for loop, of_it in runs.items():
        values = [median(map(measure, of_it)) for measure in _MEASURES]
        cells = [f"{value:{_places(value)}}" for value in values]
        lines.append(f"| {loop.name} | {' | '.join(cells)} |")
    if limit is not None:
        lines.append(f"| the server's limit, by wrk | {limit:,.0f} | | |")
    first, *rest = runs
    shares = [
        f"{ratio(runs[other], runs[first], _MEASURES[1]):.0%} of «{other.name}» by CPU, "
        f"{ratio(runs[first], runs[other], _MEASURES[0]):.0%} by pages/s"
        for other in rest
    ]
    return "\n".join([*lines, "", f"«{first.name}» does {'; '.join(shares)}."])


def drop_partial(runs: dict[Crawler, list[Run]]) -> list[str]:
    """Remove the crawlers that ended by themselves with too few pages; return a line for each."""
    most = max((len(run.result.pages) for of_it in runs.values() for run in of_it), default=0)
    lines = []
    for crawler, of_it in list(runs.items()):
        fewest = min(len(run.result.pages) for run in of_it)
        if fewest < WHOLE * most and not any(run.cost.stopped for run in of_it):
            del runs[crawler]
            lines.append(f"{crawler.name}: it ended with {fewest:,} of {most:,} pages")
    return lines


def ratio(some: Sequence[Run], base: Sequence[Run], measure: _Measure) -> float:
    """Return how *some* stand beside *base*, round by round; not a number: nothing came."""
    pairs = [(measure(ours), measure(two)) for ours, two in zip(some, base, strict=True)]
    return median([ours / two for ours, two in pairs if two] or [math.nan])


def spread(some: Sequence[float], base: Sequence[float]) -> str:
    """Return the median of the ratios of figures in the same turn, the lowest and the highest."""
    ratios = [ours / other for ours, other in zip(some, base, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"  # noqa: RUF001 - a range


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, whose first row has the titles."""
    titles, *body = rows
    lines = [titles, ["---"] * len(titles), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def checkpoint_cost(stored: Sequence[Run], in_memory: Sequence[Run]) -> str:
    """Return a sentence about the cost of checkpoints."""
    speed, cpu, memory = (ratio(stored, in_memory, measure) for measure in _MEASURES)
    return (
        f"Compared with nothing stored, checkpoints mean {_percent(speed)} pages/s, "
        f"{_percent(cpu)} CPU and {_percent(memory)} memory."
    )


def differences(runs: Runs, base: Crawler) -> str:
    """Return how the URLs that each crawler found in any round differ from those of *base*."""
    pages = {crawler: _all(run.result.pages for run in of_it) for crawler, of_it in runs.items()}
    other_files = {
        crawler: _all(run.result.other_files for run in of_it) for crawler, of_it in runs.items()
    }
    lines = []
    for crawler in runs:
        if crawler is base:
            continue
        if any(run.cost.stopped for run in runs[crawler]):
            shared = len(pages[crawler] & pages[base])
            lines.append(f"{crawler.name}: stopped; {shared:,} of the {len(pages[base]):,} pages.")
            continue
        if _steady(runs[crawler]) and pages[crawler] == pages[base]:
            lines.append(f"{crawler.name}: the same {len(pages[crawler]):,} pages in every round.")
        else:
            lines.append(f"{crawler.name}: not the same pages.")
            lines += _listed("it alone", pages[crawler] - pages[base])
            lines += _listed(f"{base.name} alone", pages[base] - pages[crawler])
        lines += _listed("beside pages, it alone", other_files[crawler] - other_files[base])
        lines += _listed(
            f"beside pages, {base.name} alone", other_files[base] - other_files[crawler]
        )
    if not _steady(runs[base]):
        lines.append(f"{base.name}: not the same pages in every round.")
    return "\n".join(f"- {line}" if not line.startswith(" ") else line for line in lines)


def _steady(runs: Sequence[Run]) -> bool:
    return len({run.result.pages for run in runs}) == 1


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _listed(label: str, urls: frozenset[str]) -> list[str]:
    if not urls:
        return []
    paths = sorted(urls)
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return [f"  - {label}, {len(paths)}: {', '.join(f'`{path}`' for path in paths[:_SHOWN])}{more}"]


def _range(numbers: Iterable[int]) -> str:
    distinct = sorted(set(numbers))
    return f"{distinct[0]:,}" if len(distinct) == 1 else f"{distinct[0]:,}–{distinct[-1]:,}"  # noqa: RUF001 - a range


def _places(value: float) -> str:
    return ",.2f" if value < 10 else ",.0f"


def _percent(share: float) -> str:
    return f"{abs(share - 1):.0%} {'more' if share >= 1 else 'less'}"
