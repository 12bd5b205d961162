"""Difference of two texts: its extent, its lines, and a unified diff with marked words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.quantity import count_noun

MOST_LINES = 20_000
"""Maximum lines of a text to compare; the rest of a longer text is ignored."""

_MOST_WORDS = 400  # of a line whose words are compared
_CONTEXT = 3
_WORDS = re.compile(r"\w+\s*|\W\s*")

Ignored = Callable[[str], bool]


class Amount(Struct, frozen=True, kw_only=True):
    """Extent of the difference of two texts. It only sorts changes: a price is one word."""

    added: int  # lines
    removed: int
    share: float  # of the words of both, those in such lines; 0: lines are in another order


def lines_of(text: bytes) -> list[str]:
    """Return the lines of a stored text, without blank ones, with white space folded."""
    folded = (" ".join(line.split()) for line in text.decode("utf-8", "replace").splitlines())
    return [line for line in folded if line]


def comparable_lines(lines: Sequence[str], ignored: Ignored | None) -> list[str]:
    """Return the lines without those that a comparison ignores."""
    return [line for line in lines if not (ignored and ignored(line))]


def amount(before: Sequence[str], after: Sequence[str]) -> Amount:
    """Return the extent of the difference of two texts, given their lines."""
    old, new = Counter(before), Counter(after)
    removed, come = old - new, new - old
    words = _words(old) + _words(new)
    share = (_words(removed) + _words(come)) / words if words else 0.0
    return Amount(added=come.total(), removed=removed.total(), share=round(share, 4))


def _words(lines: "Counter[str]") -> int:
    return sum(count * len(line.split()) for line, count in lines.items())


class DiffLine(Struct, frozen=True, kw_only=True):
    """One line of a diff: of the earlier text, of the later one, or of both."""

    before: int | None  # its number in the earlier text; null: it was added
    after: int | None  # its number in the later text; null: it was removed
    parts: tuple[str, ...]  # its text in pieces: the second, the fourth, … are marked as changed


Hunk: TypeAlias = tuple[DiffLine, ...]
"""Lines that differ, with some equal lines around them."""


def hunks_of(before: Sequence[str], after: Sequence[str]) -> tuple[Hunk, ...]:
    """Return the differences of two texts; in a line that replaces another, words are marked."""
    old, new = before[:MOST_LINES], after[:MOST_LINES]
    groups = SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT)
    return tuple(
        tuple(
            line
            for tag, i, j, k, m in group
            for line in _lines(tag, _Part(i, old[i:j]), _Part(k, new[k:m]))
        )
        for group in groups
    )


def format_unified(before: Sequence[str], after: Sequence[str]) -> str:
    """Return the hunks of two texts as a unified diff.

    What was removed is in ``[-…-]``, what was added in ``{+…+}``.
    """
    return as_text(hunks_of(before, after), max(len(before), len(after)) - MOST_LINES)


def as_text(hunks: Sequence[Hunk], cut: int = 0) -> str:
    """Return *hunks* as a unified diff; *cut* lines at the end of the text were not compared."""
    lines: list[str] = []
    for hunk in hunks:
        old = [line.before for line in hunk if line.before is not None]
        new = [line.after for line in hunk if line.after is not None]
        lines.append(f"@@ -{_range(old)} +{_range(new)} @@")
        lines += map(_format_line, hunk)
    text = "\n".join(lines)
    return text if cut <= 0 else f"{text}\n… not compared: {count_noun(cut, 'more line')}"


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{numbers[0] if numbers else 0},{len(numbers)}"


def _format_line(line: DiffLine) -> str:
    if line.after is None:
        return "-" + _mark_parts(line.parts, "[-", "-]")
    if line.before is None:
        return "+" + _mark_parts(line.parts, "{+", "+}")
    return " " + "".join(line.parts)


def _mark_parts(parts: Sequence[str], begins: str, ends: str) -> str:
    return "".join(f"{begins}{part}{ends}" if n % 2 else part for n, part in enumerate(parts))


class _Part(Struct, frozen=True):
    """Lines of a text, and how many are before them."""

    above: int
    lines: Sequence[str]


def _lines(tag: str, old: _Part, new: _Part) -> Iterator[DiffLine]:
    if tag == "equal":
        for n, line in enumerate(new.lines, 1):
            yield DiffLine(before=old.above + n, after=new.above + n, parts=(line,))
        return
    if len(old.lines) == len(new.lines):
        pairs = [_pair(*two) for two in zip(old.lines, new.lines, strict=True)]
        removed, come = [before for before, _ in pairs], [other for _, other in pairs]
    else:
        removed, come = [(line,) for line in old.lines], [(line,) for line in new.lines]
    for n, parts in enumerate(removed, 1):
        yield DiffLine(before=old.above + n, after=None, parts=parts)
    for n, parts in enumerate(come, 1):
        yield DiffLine(before=None, after=new.above + n, parts=parts)


def _pair(before: str, after: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return two lines in pieces that are alternately equal and different."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > _MOST_WORDS:
        return (before,), (after,)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < 0.5:
        return (before,), (after,)
    minus, plus = [""], [""]
    for tag, i, j, k, m in matcher.get_opcodes():
        for parts, piece in ((minus, "".join(old[i:j])), (plus, "".join(new[k:m]))):
            if tag == "equal":
                parts[-1] += piece
            elif piece:
                parts.extend((piece, ""))
    return tuple(minus), tuple(plus)
