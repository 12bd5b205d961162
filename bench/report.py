"""What the rounds came to, as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

from bench.crawlers import Crawler, Found
from bench.measure import Taken

_SHOWN = 10  # URLs of a difference


@dataclass(frozen=True, slots=True)
class Run:
    """One crawl."""

    taken: Taken
    found: Found

    @property
    def pages_per_s(self) -> float:
        """Return how many pages came in a second, from the start of the process to its end."""
        return len(self.found.pages) / self.taken.wall_s

    @property
    def cpu_s_per_1000(self) -> float:
        """Return the seconds of CPU that a thousand pages took."""
        return 1000 * self.taken.cpu_s / max(1, len(self.found.pages))

    @property
    def peak_mb(self) -> float:
        """Return the most memory in use at once, in millions of bytes."""
        return self.taken.peak_bytes / 1e6


Runs = Mapping[Crawler, Sequence[Run]]
_Measure = Callable[[Run], float]
_MEASURES: tuple[_Measure, ...] = (
    lambda run: run.pages_per_s,
    lambda run: run.cpu_s_per_1000,
    lambda run: run.peak_mb,
)


def table(runs: Runs, base: Crawler) -> str:
    """Return a row per crawler: medians, and in brackets beside *base*.

    A ratio is the median of the ratios within each round: what slows a whole round
    down does not move it.
    """
    lines = [
        "| crawler | pages/s | CPU s per 1,000 pages | peak MB | pages | requests |",
        "|---|---|---|---|---|---|",
    ]
    for crawler, of_it in runs.items():
        cells = [crawler.name]
        for measure in _MEASURES:
            value = median(map(measure, of_it))
            cells.append(f"{value:{_places(value)}} ({ratio(of_it, runs[base], measure):.2f})")
        cells += [_range(len(run.found.pages) for run in of_it)]
        cells += [_range(run.found.requests for run in of_it)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(some: Sequence[Run], others: Sequence[Run], measure: _Measure) -> float:
    """Return how *some* stand beside *others*, round by round."""
    return median(measure(one) / measure(two) for one, two in zip(some, others, strict=True))


def cost(stored: Sequence[Run], in_memory: Sequence[Run]) -> str:
    """Return what the checkpoints cost, in a sentence."""
    speed, cpu, memory = (ratio(stored, in_memory, measure) for measure in _MEASURES)
    return (
        f"With its checkpoints, Crawlyard has {_percent(speed)} pages/s, takes {_percent(cpu)} CPU "
        f"and {_percent(memory)} memory, beside itself with nothing stored."
    )


def differences(runs: Runs, base: Crawler) -> str:
    """Return how the URLs that each crawler found in any round differ from those of *base*."""
    pages = {crawler: _all(run.found.pages for run in of_it) for crawler, of_it in runs.items()}
    others = {crawler: _all(run.found.others for run in of_it) for crawler, of_it in runs.items()}
    lines = []
    for crawler in runs:
        if crawler is base:
            continue
        if _steady(runs[crawler]) and pages[crawler] == pages[base]:
            lines.append(f"{crawler.name}: the same {len(pages[crawler]):,} pages in every round.")
        else:
            lines.append(f"{crawler.name}: not the same pages.")
            lines += _listed("it alone", pages[crawler] - pages[base])
            lines += _listed(f"{base.name} alone", pages[base] - pages[crawler])
        lines += _listed("beside pages, it alone", others[crawler] - others[base])
        lines += _listed(f"beside pages, {base.name} alone", others[base] - others[crawler])
    if not _steady(runs[base]):
        lines.append(f"{base.name}: not the same pages in every round.")
    return "\n".join(f"- {line}" if not line.startswith(" ") else line for line in lines)


def _steady(runs: Sequence[Run]) -> bool:
    return len({run.found.pages for run in runs}) == 1


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _listed(who: str, urls: frozenset[str]) -> list[str]:
    if not urls:
        return []
    paths = sorted(urlsplit(url)._replace(scheme="", netloc="").geturl() for url in urls)
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return [f"  - {who}, {len(paths)}: {', '.join(f'`{path}`' for path in paths[:_SHOWN])}{more}"]


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}–{found[-1]:,}"  # noqa: RUF001 - a range


def _places(value: float) -> str:
    return ",.2f" if value < 10 else ",.0f"


def _percent(share: float) -> str:
    return f"{abs(share - 1):.0%} {'more' if share >= 1 else 'less'}"
