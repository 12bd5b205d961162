# matplotlib is of the extra `bench`, which type checks do without.
# mypy: disable-error-code="import-not-found"
"""The plot of `bench.time_left`: for each crawl, the range that was shown beside the truth."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from bench.time_left import EARLY_S, Course, score

mpl.use("Agg")

_TRUTH, _RANGE = "#1f2328", "#1f6feb"
_COLUMNS = 4


def draw(courses: Sequence[Course], file: Path) -> None:
    """Draw each crawl in a panel of its own."""
    rows = math.ceil(len(courses) / _COLUMNS)
    figure, panels = plt.subplots(
        rows, _COLUMNS, figsize=(11, 2.1 * rows), layout="constrained", squeeze=False
    )
    for axes, course in zip(panels.flat, courses, strict=False):
        looks = [look for look in course.looks if look.p10_s is not None]
        at = [look.at_s for look in looks]
        low, high = [look.p10_s for look in looks], [look.p90_s for look in looks]
        axes.fill_between(at, low, high, color=_RANGE, alpha=0.3, lw=0, label="p10 to p90")
        axes.plot(at, [look.p50_s for look in looks], color=_RANGE, lw=1, label="p50")
        axes.plot([0, course.seconds], [course.seconds, 0], color=_TRUTH, lw=1, label="truth")
        axes.axvline(EARLY_S, color=_TRUTH, lw=0.5, ls=":")
        axes.set(xlim=(0, course.seconds), ylim=(0, 1.8 * course.seconds))
        axes.set_title(f"{course.name}: {score([course]).inside:.0%} inside", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(courses) :]:
        axes.set_visible(False)
    panels[0, 0].legend(fontsize=7, frameon=False)
    figure.supxlabel("seconds since the crawl began", fontsize=9)
    figure.supylabel("seconds left", fontsize=9)
    figure.savefig(file, dpi=75, pil_kwargs={"optimize": True})
    plt.close(figure)
