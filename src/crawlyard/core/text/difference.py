"""Difference of two texts: how much, which lines, and as a unified diff with marked words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher, unified_diff

from msgspec import Struct

from crawlyard.core.quantity import counted

MOST_LINES = 20_000
"""Lines of a text that are compared one by one; of a longer one, the first."""

_MOST_WORDS = 400  # of a line whose words are compared
_CONTEXT = 3
_WORDS = re.compile(r"\w+\s*|\W\s*")

Ignored = Callable[[str], bool]


class Amount(Struct, frozen=True, kw_only=True):
    """How much two texts differ. It sorts changes, and decides nothing: a price is one word."""

    added: int  # lines
    removed: int
    share: float  # of the words of both, those in such lines; 0: lines are in another order


def lines_of(text: bytes) -> list[str]:
    """Return the lines of a stored text, without blank ones, with white space folded."""
    folded = (" ".join(line.split()) for line in text.decode("utf-8", "replace").splitlines())
    return [line for line in folded if line]


def counting(lines: Sequence[str], ignored: Ignored | None) -> list[str]:
    """Return the lines that count."""
    return [line for line in lines if not (ignored and ignored(line))]


def amount(before: Sequence[str], after: Sequence[str]) -> Amount:
    """Return how much two texts differ, given their lines."""
    old, new = Counter(before), Counter(after)
    gone, come = old - new, new - old
    words = _words(old) + _words(new)
    share = (_words(gone) + _words(come)) / words if words else 0.0
    return Amount(added=come.total(), removed=gone.total(), share=round(share, 4))


def _words(lines: "Counter[str]") -> int:
    return sum(count * len(line.split()) for line, count in lines.items())


def unified(before: Sequence[str], after: Sequence[str]) -> str:
    """Return a unified diff of lines; a line in place of another one has its words marked.

    What was removed is in ``[-…-]``, what was added in ``{+…+}``.
    """
    old, new = before[:MOST_LINES], after[:MOST_LINES]
    told = list(unified_diff(old, new, lineterm="", n=_CONTEXT))[2:]
    text = "\n".join(_marked(told))
    cut = max(len(before), len(after)) - MOST_LINES
    return text if cut <= 0 else f"{text}\n… not compared: {counted(cut, 'more line')}"


def _marked(lines: Sequence[str]) -> Iterator[str]:
    place = 0
    while place < len(lines):
        minus = _run(lines, place, "-")
        plus = _run(lines, place + minus, "+")
        block = lines[place : place + minus + plus]
        place += len(block)
        if minus and minus == plus:
            pairs = [
                _pair(old[1:], new[1:])
                for old, new in zip(block[:minus], block[minus:], strict=True)
            ]
            yield from (f"-{old}" for old, _ in pairs)
            yield from (f"+{new}" for _, new in pairs)
        elif block:
            yield from block
        else:
            yield lines[place]
            place += 1


def _run(lines: Sequence[str], start: int, sign: str) -> int:
    """Return how many lines from *start* on begin with *sign*."""
    end = start
    while end < len(lines) and lines[end].startswith(sign):
        end += 1
    return end - start


def _pair(before: str, after: str) -> tuple[str, str]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > _MOST_WORDS:
        return before, after
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < 0.5:
        return before, after
    minus, plus = [], []
    for tag, i, j, k, m in matcher.get_opcodes():
        gone, come = "".join(old[i:j]), "".join(new[k:m])
        minus.append(gone if tag == "equal" or not gone else f"[-{gone}-]")
        plus.append(come if tag == "equal" or not come else f"{{+{come}+}}")
    return "".join(minus), "".join(plus)
