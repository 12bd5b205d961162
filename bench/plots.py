# matplotlib is of the extra `bench`, which type checks do without.
# mypy: disable-error-code="import-not-found"
"""Pictures of what `bench.engine` found: ``python -m bench.plots RESULTS… FOLDER``.

``engine-rate.png`` and ``engine-cpu.png`` compare crawlers on the largest site that most of
them have crawled; ``engine-curve.png`` is over the size of the site.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from bench.crawlers import CRAWLYARD
from bench.report import WHOLE

mpl.use("Agg")

_OURS, _OTHERS = "#1f6feb", "#9aa4b2"
_WITH_TEXT = ("default", "Markdown", "main text")  # ends of names: they do more


@dataclass(frozen=True, slots=True)
class Point:
    """Medians of one crawler on one site."""

    site: str
    crawler: str
    pages: int  # of the site
    pages_per_s: float
    cpu_s_per_1000: float


def points(files: Iterable[Path]) -> list[Point]:
    """Return what the results have, without loops and those who missed pages by themselves."""
    runs = defaultdict(list)
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            run = json.loads(line)
            if not run["is_loop"] and run["pages"]:
                runs[run["site"], run["crawler"]].append(run)
    found = [
        Point(
            site,
            crawler,
            round(median(run["pages"] for run in each)),
            median(run["pages"] / run["wall_s"] for run in each),
            median(1000 * run["cpu_s"] / run["pages"] for run in each),
        )
        for (site, crawler), each in runs.items()
    ]
    sizes = {site: max(one.pages for one in found if one.site == site) for site, _ in runs}
    stopped = {key for key, each in runs.items() if any(run["stopped"] for run in each)}
    return [
        replace(one, pages=sizes[one.site])  # also of who was stopped, and has crawled fewer
        for one in found
        if one.pages >= WHOLE * sizes[one.site] or (one.site, one.crawler) in stopped
    ]


def bars(
    found: Sequence[Point], value: Callable[[Point], float], title: str, file: Path, *, most: bool
) -> None:
    """Draw a bar for each crawler, the best on top."""
    shown = sorted(found, key=value, reverse=not most)
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(shown) + 1.2), layout="constrained")
    colours = [_OURS if one.crawler.startswith("Crawlyard") else _OTHERS for one in shown]
    drawn = axes.barh([one.crawler for one in shown], [value(one) for one in shown], color=colours)
    axes.bar_label(drawn, fmt=_written, padding=3)
    axes.margins(x=0.12)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def curve(found: Sequence[Point], file: Path) -> None:
    """Draw pages/s and CPU over the size of the site, for those who have crawled two or more."""
    lines: Mapping[str, list[Point]] = defaultdict(list)
    for one in sorted(found, key=lambda point: point.pages):
        lines[one.crawler].append(one)
    figure, (rates, costs) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axes in (rates, costs):
        axes.set_prop_cycle(color=mpl.colormaps["tab20"].colors)
    for crawler, each in lines.items():
        if len(each) > 1 and not crawler.endswith(_WITH_TEXT):
            sizes = [one.pages for one in each]
            style = {
                "marker": "o",
                "lw": 2.5 if crawler == CRAWLYARD.name else 1.2,
                "label": crawler,
            }
            rates.plot(sizes, [one.pages_per_s for one in each], **style)
            costs.plot(sizes, [one.cpu_s_per_1000 for one in each], **style)
    for axes, words in ((rates, "pages a second"), (costs, "CPU seconds per 1,000 pages")):
        axes.set(xscale="log", yscale="log", xlabel="pages of the site", title=words)
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.set_xticks(sorted({one.pages for one in found if one.crawler == CRAWLYARD.name}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: _written(value))
    handles, names = rates.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _written(value: float) -> str:
    """Return a number as it stands beside its bar or tick."""
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def main() -> None:
    """Draw all three."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="files of bench.engine --results")
    parser.add_argument("folder", type=Path, help="for the pictures")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found = points(options.results)
    counts = {site: sum(one.site == site for one in found) for site in {p.site for p in found}}
    crowded = [one for one in found if counts[one.site] > max(counts.values()) / 2]
    largest = max(crowded, key=lambda one: one.pages).site
    on_it = [one for one in found if one.site == largest]
    size = f"{max(one.pages for one in on_it):,} pages ({largest})"
    bars(
        on_it,
        lambda one: one.pages_per_s,
        f"Pages a second, {size}",
        options.folder / "engine-rate.png",
        most=True,
    )
    bars(
        on_it,
        lambda one: one.cpu_s_per_1000,
        f"CPU seconds per 1,000 pages, {size}: less is better",
        options.folder / "engine-cpu.png",
        most=False,
    )
    curve(found, options.folder / "engine-curve.png")


if __name__ == "__main__":
    main()
