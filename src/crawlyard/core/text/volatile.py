"""Volatile places: lines of a text that differ in each fetch of the page.

A clock, a counter, an advertisement or a token is identified by its place, as its text is never
the same: lines between the same two lines are the same place. All of it takes linear time, except
for sorting.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from msgspec import Struct, json

from crawlyard.core.text.difference import MOST_LINES

MOST_PLACES = 1_000
"""Maximum volatile places of a text; with more, the whole text is considered different."""


class Place(Struct, frozen=True, array_like=True):
    """Lines of a text, *start* to *end* (exclusive), and the maximum number of lines there."""

    start: int
    end: int
    most: int

    def takes(self, start: int, end: int, other: int) -> bool:
        """Return whether it allows *other* lines in place of lines *start* to *end*."""
        inside = self.start <= start and end <= self.end
        return inside and self.end - self.start - (end - start) + other <= self.most


class Gap(Struct, frozen=True):
    """Lines of one text, and the lines of another in their place."""

    start: int
    end: int
    other_start: int
    other_end: int


def find_volatile(lines: Sequence[str], later_lines: Sequence[str]) -> bytes:
    """Return the places of *lines* at which another fetch of the page differs, encoded.

    Empty if the texts are equal, or so long that a comparison would block other work.
    """
    if max(len(lines), len(later_lines)) > MOST_LINES:
        return b""
    return encode_places(
        Place(g.start, g.end, max(g.end - g.start, g.other_end - g.other_start))
        for g in gaps(lines, later_lines)
    )


def find_always_volatile(versions: Sequence[Sequence[str]]) -> Sequence[Place]:
    """Return the places of the last of *versions* that differ between all consecutive versions."""
    volatile: Sequence[Place] | None = None
    for earlier, other in pairwise(versions):
        if max(len(earlier), len(other)) > MOST_LINES:
            return ()
        volatile = [
            Place(g.other_start, g.other_end, max(g.end - g.start, g.other_end - g.other_start))
            for gap in gaps(earlier, other)
            for g in ([gap] if volatile is None else _volatile_parts(gap, volatile))
        ]
    return volatile or ()


def _volatile_parts(gap: Gap, places: Sequence[Place]) -> Iterator[Gap]:
    """Yield the part of a gap that is in *places* of its first text: all, or single lines."""
    if _within(places, gap.start, gap.end, gap.other_end - gap.other_start):
        yield gap
    elif gap.end - gap.start == gap.other_end - gap.other_start:
        for n in range(gap.start, gap.end):
            if _within(places, n, n + 1, 1):
                other = gap.other_start + n - gap.start
                yield Gap(n, n + 1, other, other + 1)


def encode_places(places: Iterable[Place]) -> bytes:
    """Return places for `decode_places`; empty if there are none or too many."""
    sorted_places = list(places)
    return json.encode(sorted_places) if 0 < len(sorted_places) <= MOST_PLACES else b""


def decode_places(*encoded_ones: bytes) -> Sequence[Place]:
    """Return the places that `encode_places` wrote, merged if they overlap."""
    places = [place for data in encoded_ones for place in json.decode(data, type=list[Place])]
    joined: list[Place] = []
    for place in sorted(places, key=lambda place_key: (place_key.start, place_key.end)):
        if joined and place.start < joined[-1].end:
            before = joined.pop()
            end = max(before.end, place.end)
            most = max(before.most, place.most, end - before.start)
            joined.append(Place(before.start, end, most))
        else:
            joined.append(place)
    return joined


def settle_volatile(
    before: Sequence[str],
    after: Sequence[str],
    of_before: Sequence[Place],
    of_after: Sequence[Place],
) -> Sequence[str]:
    """Return the earlier text with its volatile places replaced by those of the later one.

    Remaining differences from *after* are changes. The places are those of either text.
    """
    if not of_before and not of_after:
        return before
    calm: list[str] = []
    done = 0
    for gap in gaps(before, after):
        calm += before[done : gap.start]
        calm += _settle_gap(before, after, of_before, of_after, gap)
        done = gap.end
    return [*calm, *before[done:]]


def _settle_gap(
    before: Sequence[str],
    after: Sequence[str],
    of_before: Sequence[Place],
    of_after: Sequence[Place],
    gap: Gap,
) -> Sequence[str]:
    """Return the lines of *before* in a gap, except those in volatile places."""
    old, new = before[gap.start : gap.end], after[gap.other_start : gap.other_end]
    if _within(of_after, gap.other_start, gap.other_end, len(old)):
        return new
    if _within(of_before, gap.start, gap.end, len(new)):
        return new
    if len(old) != len(new):
        return old
    # a clock beside a line that was edited
    return [
        now
        if _within(of_after, gap.other_start + n, gap.other_start + n + 1, 1)
        or _within(of_before, gap.start + n, gap.start + n + 1, 1)
        else was
        for n, (was, now) in enumerate(zip(old, new, strict=True))
    ]


def _within(places: Sequence[Place], start: int, end: int, other: int) -> bool:
    """Return whether one of *places*, which are in order, takes *other* lines there."""
    first = bisect_left(places, start, key=lambda place: place.end)
    return any(place.takes(start, end, other) for place in places[first : first + 2])


def gaps(lines: Sequence[str], other: Sequence[str]) -> Iterator[Gap]:
    """Yield the places at which two texts differ, in order.

    Lines that occur once in each text anchor it, with the equal lines around them. Between two
    anchors, equal numbers of lines are compared one by one.
    """
    anchors = [(-1, -1), *_anchors(lines, other), (len(lines), len(other))]
    for (before, other_before), (after, other_after) in pairwise(anchors):
        start, other_start = before + 1, other_before + 1
        end, other_end = after, other_after
        if end - start == other_end - other_start:
            yield from _line_by_line(lines, other, start, end, other_start - start)
            continue
        while start < end and other_start < other_end and lines[start] == other[other_start]:
            start, other_start = start + 1, other_start + 1
        while start < end and other_start < other_end and lines[end - 1] == other[other_end - 1]:
            end, other_end = end - 1, other_end - 1
        yield Gap(start, end, other_start, other_end)


def _line_by_line(
    before: Sequence[str], other: Sequence[str], start: int, end: int, shift: int
) -> Iterator[Gap]:
    """Yield the runs of lines that differ, each *shift* lines later in *other*."""
    begun = None
    for place in range(start, end + 1):
        if place < end and before[place] != other[place + shift]:
            begun = place if begun is None else begun
        elif begun is not None:
            yield Gap(begun, place, begun + shift, place + shift)
            begun = None


def _anchors(lines: Sequence[str], other: Sequence[str]) -> Sequence[tuple[int, int]]:
    """Return pairs of places of lines that each text has once, maximizing the text in equal order.

    Weighted by length, as an advertisement may be in another place of each text.
    """
    once = {line for line, count in Counter(lines).items() if count == 1}
    once &= {line for line, count in Counter(other).items() if count == 1}
    at = {line: n for n, line in enumerate(other) if line in once}
    pairs = [(n, at[line]) for n, line in enumerate(lines) if line in once]
    if all(before < after for (_, before), (_, after) in pairwise(pairs)):
        return pairs
    return _rising(pairs, [len(lines[n]) for n, _ in pairs])


def _rising(pairs: Sequence[tuple[int, int]], weights: Sequence[int]) -> Sequence[tuple[int, int]]:
    """Return the heaviest subsequence of *pairs* in which the second number increases.

    Source: Fenwick, A new data structure for cumulative frequency tables, 1994; for maxima.
    """
    ranks = {second: n for n, second in enumerate(sorted(second for _, second in pairs))}
    tree = [(0, -1)] * (len(pairs) + 1)  # the heaviest run up to a rank, and its last pair
    before: list[int] = []
    for place, ((_, second), weight) in enumerate(zip(pairs, weights, strict=True)):
        node = ranks[second]
        best = (0, -1)
        while node:
            best = max(best, tree[node])
            node &= node - 1
        before.append(best[1])
        node, run = ranks[second] + 1, (best[0] + weight, place)
        while node < len(tree):
            tree[node] = max(tree[node], run)
            node += node & -node
    longest: list[tuple[int, int]] = []
    place = max(tree)[1]
    while place >= 0:
        longest.append(pairs[place])
        place = before[place]
    return longest[::-1]
