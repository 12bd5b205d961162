"""Chunks of Markdown by heading."""

from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.text.chunks import Chunk, chunks, plain

URL = "http://h.example/a"
PAGE = """\
Before.

# The *title* [of](http://x/(y)) `it`

One two three.

- four
- five

## Under

```python
# no heading

six
```

## Under

seven

# Next
"""


def cut(text: str, most: int = 100) -> list[Chunk]:
    return list(chunks(URL, text, most))


def test_a_chunk_has_the_headings_above_it() -> None:
    assert [(chunk.headings, chunk.text) for chunk in cut(PAGE)] == [
        ((), "Before."),
        (("The title of it",), "One two three.\n\n- four\n- five"),
        (("The title of it", "Under"), "```python\n# no heading\n\nsix\n```"),
        (("The title of it", "Under"), "seven"),
    ]


def test_ids_stay_when_a_text_or_another_section_changes() -> None:
    before = cut(PAGE)
    after = cut(PAGE.replace("One two", "1, 2").replace("Before.", "Before.\n\n# New\n\nnew"))
    shared = {chunk.id for chunk in before} & {chunk.id for chunk in after}
    assert shared == {chunk.id for chunk in before}
    assert len({chunk.id for chunk in after}) == 5
    assert not shared & {chunk.id for chunk in chunks(URL + "/b", PAGE, 100)}


def test_a_chunk_has_whole_blocks_as_long_as_they_fit() -> None:
    assert [chunk.text for chunk in cut("a b\n\nc d\n\ne", 3)] == ["a b", "c d\n\ne"]
    assert [chunk.text for chunk in cut("a b\nc d\ne", 4)] == ["a b\nc d", "e"]
    assert [chunk.text for chunk in cut("a b c d e\nf", 2)] == ["a b", "c d", "e", "f"]


def test_ids_stay_when_the_url_or_the_tooltip_of_a_link_in_a_heading_changes() -> None:
    first, *later = (
        cut(f"# The [API]({link}) ![new](new.png)\n\ntext")
        for link in ("/api", '/api "A tooltip"', '/b "An \\"other\\" (one)"', '</a b> "x"')
    )
    assert first[0].headings == ("The API new",)
    assert later == [first] * 3


def test_source_code_is_not_cut_at_its_comments() -> None:
    code = "import os\n\n# Settings\nA = 1\n\n## Paths\n```\nB = os.sep\n"
    (chunk,) = chunks(URL, code, 100, markdown=False)
    assert chunk.headings == ()
    assert chunk.text == "import os\n\n# Settings\nA = 1\n\n## Paths\n```\nB = os.sep"


def test_no_chunk_is_a_table_rule_alone() -> None:
    rows = "| a | b |\n| --- | --- |\n| c | d e f g h |"
    assert [chunk.text for chunk in cut(rows, 10)] == [
        "| a | b |\n| --- | --- |",
        "| c | d e f g h |",
    ]
    assert [chunk.text for chunk in cut(rows, 9)] == ["| a | b |", "| c | d e f g h |"]
    assert cut("|  |  |\n| --- | --- |\n\n---\n\n* * *") == []
    assert [chunk.text for chunk in cut("- x\n- - -\n- y")] == ["- x\n- - -\n- y"]


words = st.sampled_from(
    ["a", "b c", "# h", "## i", "```", "~~~", "", " ", "- x", "d " * 9, "| - |"]
)


@given(lines=st.lists(words, max_size=30), most=st.integers(1, 12))
def test_no_word_is_lost_and_no_chunk_too_long(lines: list[str], most: int) -> None:
    pieces = cut("\n".join(lines), most)
    assert all(0 < chunk.words <= most for chunk in pieces)
    assert all(chunk.words == len(chunk.text.split()) for chunk in pieces)
    kept_words = [word for chunk in pieces for word in chunk.text.split()]
    assert [w for w in kept_words if w in {"a", "b", "c", "d", "x"}] == [
        w for line in lines for w in line.split() if w in {"a", "b", "c", "d", "x"}
    ]
    assert len({chunk.id for chunk in pieces}) == len(pieces)


def test_inline_markdown_is_plain_text() -> None:
    assert plain(r"**a** \[b\] ![c](d) x<sup>2</sup> `e_f` g\*") == "a [b] c x2 e_f g*"
