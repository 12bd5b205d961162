"""Run the example while the site changes: the index has what a fresh index would have."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from harness import a_yard

FOLDER = Path("site")


def page(name: str, text: str, links: str = "") -> None:
    """Write a page of the site."""
    anchors = "".join(f'<a href="{to}.html">{to}</a> ' for to in links.split())
    body = f"<h1>{name}</h1><p>{text} {'It says a little more about it. ' * 9}</p>{anchors}"
    html = f"<!doctype html><title>{name}</title><main>{body}</main>"
    (FOLDER / f"{name}.html").write_text(html)


def first_edition() -> None:
    FOLDER.mkdir()
    page("index", "The start.", "tides harbours lights")
    page("tides", "A tide table lists high water.")
    page("harbours", "A harbour gives shelter.")
    page("lights", "A light has a character.")


def second_edition() -> None:
    page("index", "The start.", "tides lights buoys")
    page("tides", "A tide table lists low water.")
    page("buoys", "A buoy marks a channel.")
    (FOLDER / "harbours.html").unlink()


def rows(index: str) -> list[tuple[str, ...]]:
    return sorted(sqlite3.connect(index).execute("SELECT * FROM chunks"))


with a_yard() as yard:
    first_edition()
    script = yard.copy("rag_feed.py", yard.serve_site("--folder", str(FOLDER)))

    def run() -> list[str]:
        command = [sys.executable, script, "tide table"]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(ran.stdout)
        return ran.stdout.splitlines()

    counted, match, *_ = run()
    assert counted == "4 chunks: 4 written, 0 deleted", counted
    assert "tides.html" in match, match
    assert run()[0] == "4 chunks: 0 written, 0 deleted"
    second_edition()
    assert run()[0] == "4 chunks: 3 written, 1 deleted"
    kept = rows("chunks.db")
    Path("chunks.db").unlink()
    run()
    assert rows("chunks.db") == kept
