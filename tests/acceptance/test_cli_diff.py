"""`crawlyard diff` and `schedules changes`: two editions of the demo site, compared."""

import json

import pytest

from crawlyard.demo.site import DemoSite
from tests.acceptance.shell import FAST, Shell, demo_site

PAGES = 60
HERE = ("--data-dir", "crawlyard-demo")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A folder with crawls of both editions of the demo site, and the first job's id."""
    shell = Shell(tmp_path_factory.mktemp("demo"))
    ran = shell.run("demo", "--twice", "--pages", str(PAGES))
    assert ran.returncode == 0, ran.stderr
    hint = next(line for line in ran.stderr.splitlines() if "crawlyard diff" in line)
    return shell, hint.split()[2]


def test_exactly_the_edited_pages_are_listed(demo: tuple[Shell, str]) -> None:
    shell, first = demo
    site = DemoSite(pages=PAGES, edition=2)

    ran = shell.run("diff", first, "last", *HERE, "-o", "json")

    changes = json.loads(ran.stdout)
    root = next(c["url"] for c in changes if c["kind"] == "new").removesuffix("/news.html")
    kinds: dict[str, set[str]] = {}
    for change in changes:
        kinds.setdefault(change["kind"], set()).add(change["url"].removeprefix(root))
    edits = site.edits
    assert kinds == {
        "changed": edits.changed,
        "new": edits.new,
        "gone": edits.removed,
        "moved": set(edits.moved),
    }
    moved = {c["url"]: c["moved_to"] for c in changes if c["kind"] == "moved"}
    assert moved == {f"{root}{old}": f"{root}{new}" for old, new in edits.moved.items()}
    changed = len(edits.changed)
    assert ran.stderr == (
        f"{changed} changed, 1 new, 1 moved, 1 gone, {PAGES - changed - 2} same\n"
    )


def test_one_page_is_shown_line_by_line(demo: tuple[Shell, str]) -> None:
    shell, first = demo
    urls = shell.run("diff", first, "last", *HERE, "--only", "changed", "-q").stdout.splitlines()

    ran = shell.run("diff", first, "last", *HERE, "--page", urls[1])
    quiet = ("--ignore-text", "re:second edition|twice a day|Edited|^- ")
    noise = shell.run("diff", first, "last", *HERE, *quiet)

    assert "{+" in ran.stdout
    assert "twice a day" in ran.stdout
    assert ran.stderr == "changed, 1 line added, 1 removed\n"
    assert noise.returncode == 0


def test_invalid_comparisons_name_the_option(
    demo: tuple[Shell, str],
) -> None:
    shell, first = demo
    refused = {
        ("last", "last"): "LATER: expected another job",
        (first, "last", "--only", "same"): "--only: expected one of changed",
        (first, "last", "--ignore-text", "x"): "--ignore-text: expected 're:'",
        (first, "last", "--ignore-text", "re:("): "--ignore-text: 're:('",
        (first, "last", "--page", "x", "--only", "gone"): "--only: excludes --page",
        (first, "nightly@previous"): "there is no schedule nightly",
    }
    for words, message in refused.items():
        ran = shell.run("diff", *words, *HERE)
        assert (ran.returncode != 0, message in ran.stderr) == (True, True), ran.stderr


@pytest.mark.slow
def test_the_runs_of_a_schedule_are_compared_as_they_end(shell: Shell) -> None:
    with demo_site("--pages", "9", "--plain") as url:
        port = url.rstrip("/").rpartition(":")[2]
        shell.run("schedules", "create", "site", "--when", "@yearly", url, *FAST)
        alone = shell.run("diff", "site@previous", "site@last")
        shell.run("schedules", "run", "site", "-q")
        shell.run("work", "--drain")
        once = shell.run("diff", "site@previous", "site@last")
    with demo_site("--pages", "9", "--plain", "--edition", "2", "--port", port):
        shell.run("schedules", "run", "site", "-q")
        shell.run("work", "--drain")

    assert "schedule site has no job yet" in alone.stderr
    assert "schedule site has no earlier job yet" in once.stderr
    runs = json.loads(shell.run("schedules", "changes", "site", "--json").stdout)
    edits = DemoSite(pages=9, faults=False, edition=2).edits
    assert [run["counts"] for run in runs[1:]] == [{}]
    assert runs[0]["counts"] == {
        "changed": len(edits.changed),
        "new": 1,
        "seen_first": 0,
        "moved": 1,
        "gone": 1,
        "broken": 0,
        "noise": 0,
        "unknown": 0,
        "same": 9 - len(edits.changed) - 2,
    }
    listed = shell.run("schedules", "changes", "site", "--urls", "--only", "gone", "-q")
    assert listed.stdout.split() == [f"{url.rstrip('/')}{path}" for path in edits.removed]
    assert shell.run("diff", "site@previous", "site@last", "-q").stdout.count("\n") == (
        len(edits.changed) + 3
    )
    event = json.loads(shell.run("events", "--type", "run.*", "--json").stdout)
    assert event["data"]["counts"] == runs[0]["counts"]
