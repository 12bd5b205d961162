"""The gold itself: its words, its tables, its own pages."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
import turbohtml

from tests.gold import score
from tests.gold.themes import HALVES, Half, Theme, themes
from tests.gold.words import gold, strip_markdown, words

THEME = Theme(
    name="made up",
    half="read",
    pages=("made-up/**/*.html",),
    content=("main", "h1"),
    skip=("**/index.html",),
    remove=("a.permalink", "nav"),
    optional=("div.toc",),
    why="for these tests",
)


def test_words_are_folded_and_lose_the_underscores_around_them() -> None:
    assert words("Straße STRASSE __init__ _x_ a_b ___ 1.5") == Counter(
        {"strasse": 2, "init": 1, "x": 1, "a_b": 1, "1": 1, "5": 1}
    )


def test_a_soft_hyphen_does_not_split_a_word() -> None:
    assert words("soft\u00adware zero\u200bwidth") == Counter(["software", "zerowidth"])


def test_gold_takes_the_outermost_content_without_what_is_removed() -> None:
    page = b"""<h1>Title</h1><main><h1>Inner</h1><p>one<b>two</b></p><td>a</td><li>b</li><li>c</li>
        <a class=permalink>link</a><nav>menu</nav><div class=toc>list</div><script>x</script></main>
        <footer>foot</footer>"""
    of = gold(page, THEME)
    assert of.words == Counter(["title", "inner", "onetwo", "a", "b", "c"])
    assert of.optional == Counter(["list"])


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# Head\n\n1. one\n2. two\n   3) three", "Head one two three"),
        ("[a](http://x.y/z_(q) 'title') ![alt](p.png)", "a"),
        ("[![badge](b.svg)](http://x.y) <http://auto.link>", "http auto link"),
        (
            "**bold** _thin_ ~~gone~~ `x * y[i](j)` snake\\_case",
            "bold thin gone x y i j snake_case",
        ),
        ("```python\n# 1. a[b](c)\n```\n[d](e)", "1 a b c d"),
        ("a<sub>2</sub> &lt;T&gt; <table><tr><td>x</td><td>y</td></tr></table>", "a2 T x y"),
        ("text[^1]\n\n[^1]: the note\n\n[ref]: http://x.y", "text 1 1 the note"),
        ("| a | b |\n|---|:-:|\n| 1. | 2 |", "a b 1 2"),
    ],
)
def test_markdown_loses_its_marks(markdown: str, text: str) -> None:
    assert words(strip_markdown(markdown)) == words(text)


def test_the_tables_name_each_theme_once_and_enough_in_each_half() -> None:
    names = [theme.name for theme in themes()]
    assert len(names) == len(set(names))
    for half in HALVES:
        assert len(themes(half)) >= 10


def test_no_theme_is_written_in_the_wrong_half() -> None:
    for half in HALVES:
        rows = tomllib.loads((Path(score.__file__).parent / f"{half}.toml").read_text())["theme"]
        assert all("half" not in row for row in rows)


def test_pages_are_chosen_evenly_and_short_ones_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "made-up" / "html"
    folder.mkdir(parents=True)
    for number in range(64):
        text = "word " * (10 if number % 4 == 0 else 100)
        (folder / f"{number:02}.html").write_text(f"<main>{text}</main>")
    (folder / "index.html").write_text("<main>" + "word " * 100 + "</main>")
    pages = score.choose_pages(THEME, tmp_path)
    assert [Path(page.name).stem for page in pages] == [f"{4 * n + 1:02}" for n in range(16)]


def test_optional_words_count_neither_for_nor_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made-up").mkdir()
    body = "<main>" + "word " * 60 + "<div class=toc>list list</div></main>"
    (tmp_path / "made-up" / "a.html").write_text(body)
    monkeypatch.setattr(score, "themes", lambda half: [THEME])
    monkeypatch.setattr(score, "own_pages", lambda half: [])
    scores = [
        score.score(extract, tmp_path, "read")[0]
        for extract in (
            lambda body, url: "word " * 60,
            lambda body, url: "word " * 60 + "list",
            lambda body, url: "word " * 30 + "other " * 30,
        )
    ]
    assert [(of.recall, of.precision) for of in scores] == [(1, 1), (1, 1), (0.5, 0.5)]


def test_an_unknown_half_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no half"):
        score.score(score.baseline, tmp_path, "third")


@pytest.mark.parametrize("half", HALVES)
def test_the_texts_of_our_own_pages_are_in_them(half: Half) -> None:
    pages = score.own_pages(half)
    assert len(pages) >= 5
    for page in pages:
        whole = words(turbohtml.parse(page.body, detect_encoding=True).to_text())
        visible = words(turbohtml.parse(page.body, detect_encoding=True).text)
        assert not page.gold.words - (whole | visible), page.name
        assert page.gold.words.total() < whole.total()
