"""`crawlyard templates …` and `crawlyard crawl --template`, as installed."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.shell import FAST, Shell, on_terminal, records

NEWS = """\
name: news
description: The front page and what it links to
parameters:
  start_url: {type: url, required: true}
  pages: {type: integer, default: 5, allowed: [5, 10]}
spec:
  urls: ['{{start_url}}']
  name: news of {{start_url}}
  tags: [news]
  delay: 0
  per_host: 8
  allow_private: true
  limits: {pages: '{{pages}}'}
"""


@pytest.fixture
def news(either: Shell) -> Shell:
    """A yard with a template, and the file it was imported from."""
    (either.folder / "news.yaml").write_text(NEWS)
    ran = either.run("templates", "import", "news.yaml")
    assert ran.returncode == 0, ran.stderr
    return either


def json_object(shell: Shell, *words: str) -> Mapping[str, Any]:
    """Return the JSON object that a command writes."""
    answer = shell.json("templates", *words)
    assert isinstance(answer, dict)
    return answer


def test_a_job_names_the_template_it_was_created_from(news: Shell, site: str) -> None:
    ran = news.run("crawl", "--template", "news", "-p", f"start_url={site}/", "--out", "p.jsonl")

    assert ran.returncode == 0, ran.stderr
    assert len(records(news.folder / "p.jsonl")) == 5
    job, template = news.job(), json_object(news, "show", "news")
    spec: Any = job["spec"]
    assert (spec["name"], spec["tags"]) == (f"news of {site}/", ["news"])
    assert job["origin"] == {
        "template_id": template["id"],
        "template_version": 1,
        "schedule_id": None,
        "tick_at": None,
        "group_id": None,
        "given": [],
    }
    assert "template\tnews v1\n" in news.run("jobs", "show", "last").stdout


def test_options_override_only_their_fields_of_the_template(news: Shell, site: str) -> None:
    words = ("crawl", "-d", "--template", "news", "-p", f"start_url={site}/", "-p", "pages=10")

    plain = news.run(*words, "--max-depth", "1", "--json")
    other = news.run(*words, f"{site}/other", "--max-pages", "3", "--per-host", "2", "--json")

    from_template, won = json.loads(plain.stdout), json.loads(other.stdout)
    assert (
        from_template["spec"]["limits"]["pages"],
        from_template["spec"]["per_host"],
        from_template["spec"]["delay_s"],
    ) == (
        10,
        8,
        0,
    )
    assert (won["spec"]["limits"]["pages"], won["spec"]["per_host"], won["spec"]["delay_s"]) == (
        3,
        2,
        0,
    )
    assert won["spec"]["urls"] == [f"{site}/other"]
    assert from_template["origin"]["given"] == ["max_depth"]
    assert won["origin"]["given"] == ["urls", "limits.pages", "per_host"]


def test_options_can_reset_fields_of_a_template(either: Shell) -> None:
    options = ("--max-pages", "5", "--max-depth", "1", "--ignore-robots", "--include", "*/a/*")
    either.run("templates", "create", "docs", "https://a.example/", *options)
    none = ("--max-pages", "none", "--no-ignore-robots", "--include", "none")

    rendered = json_object(either, "render", "docs", *none)

    assert rendered["spec"]["limits"]["pages"] is None
    assert (rendered["spec"]["ignore_robots"], rendered["spec"]["include"]) == (False, [])
    assert rendered["spec"]["max_depth"] == 1
    assert rendered["sources"]["limits.pages"] == "this job"


def test_a_template_shows_no_credentials_in_its_parameters(either: Shell) -> None:
    words = ("https://a.example/", "--header", "Cookie: session={{token}}", "-p", "token=s3cret")
    about = ("--user-agent", "Bot ({{about}})", "-p", "about:url=https://u:pw123@a.example/")
    either.run("templates", "create", "docs", *words, *about)

    for command in ("show", "list", "versions"):
        for style in ("plain", "json"):
            named = () if command == "list" else ("docs",)
            ran = either.run("templates", command, *named, "-o", style)
            assert ran.returncode == 0
            assert "s3cret" not in ran.stdout
            assert "pw123" not in ran.stdout
    parameters = json_object(either, "show", "docs")["parameters"]
    assert [p["default"] for p in parameters] == ["***", "https://***@a.example/"]


def test_a_template_version_can_be_chosen(news: Shell, site: str) -> None:
    news.run("templates", "edit", "news", "--description", "second")
    words = ("crawl", "-d", "--template", "news", "-p", f"start_url={site}/", "--json")

    latest = json.loads(news.run(*words).stdout)
    first = json.loads(news.run(*words, "--template-version", "1").stdout)

    assert latest["origin"]["template_version"] == 2
    assert first["origin"]["template_version"] == 1


def test_an_invalid_value_names_the_parameter(news: Shell) -> None:
    for words, code, message in (
        (("-p", "start_ur=x"), 2, "--param start_ur: there is no such parameter; did you mean"),
        (("-p", "start_url=x"), 2, "--param start_url: expected an http or https URL, got 'x'"),
        ((), 2, "--param start_url: expected a value of type url, got none"),
        (("-p", "start_url=https://a.example", "-p", "pages=7"), 2, "expected one of 5, 10, got 7"),
        (("-p", "pages"), 2, "--param: expected NAME=VALUE"),
        (("--template-version", "9"), 3, "no version 9 of template"),
        (("--template", "none"), 3, "there is no template none"),
    ):
        ran = news.run("crawl", "-d", "--template", "news", *words)

        assert (ran.returncode, ran.stdout) == (code, ""), words
        assert message in ran.stderr, words
    assert news.json("jobs", "list") == []


def test_parameters_require_a_template(either: Shell) -> None:
    ran = either.run("crawl", "https://a.example/", "-p", "x=1")

    assert ran.returncode == 2
    assert "requires --template" in ran.stderr


def test_a_template_is_created_from_crawl_options(either: Shell) -> None:
    created = either.run(
        *("templates", "create", "docs", "{{start}}", "--scope", "prefix", "--max-pages", "20k"),
        *("--max-duration", "1h30m", "--header", "Authorization: Bearer s3cret", "--delay", "0"),
        *("--extract", "price=.price", "--keep", "html", "--tag", "a", "--name", "{{title}}"),
        *("-p", "start:url", "-p", "title:text=All docs", "--description", "x"),
    )

    assert (created.returncode, created.stdout) == (0, "")
    template = json_object(either, "show", "docs")
    assert template["spec"] == {
        "urls": ["{{start}}"],
        "limits": {"pages": 20_000, "duration_s": 5400},
        "scope": "prefix",
        "delay_s": 0,
        "headers": [["Authorization", "***"]],
        "extract": [["price", ".price"]],
        "keep_html": True,
        "name": "{{title}}",
        "tags": ["a"],
    }
    assert [
        (p["name"], p["type"], p["required"], p["default"]) for p in template["parameters"]
    ] == [
        ("start", "url", True, None),
        ("title", "text", False, "All docs"),
    ]
    assert "s3cret" not in either.run("templates", "show", "docs").stdout
    assert "Bearer s3cret" in either.run("templates", "export", "docs").stdout


def test_the_whole_spec_is_shown_with_the_source_of_each_value(news: Shell) -> None:
    words = ("templates", "render", "news", "-p", "start_url=https://a.example/")

    ran = news.run(*words, "--max-depth", "2")
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in ran.stdout.splitlines()}

    assert lines["urls"] == ['["https://a.example/"]', "template v1"]
    assert lines["limits.pages"] == ["5", "template v1"]
    assert lines["max_depth"] == ["2", "this job"]
    assert lines["scope"] == ["host", "default"]
    rendered = json.loads(news.run(*words, "--json").stdout)
    assert rendered["spec"]["limits"]["pages"] == 5
    assert rendered["sources"].keys() == lines.keys()
    assert news.json("jobs", "list") == []


def test_templates_are_listed_and_searched(news: Shell) -> None:
    news.run("templates", "create", "docs", "https://a.example/")
    news.run("templates", "publish", "docs")

    def listed(*words: str) -> list[str]:
        return news.run("templates", "list", *words).stdout.splitlines()

    assert [line.split("\t")[:4] for line in listed()] == [
        ["docs", "2", "true", ""],
        ["news", "1", "false", "start_url, pages"],
    ]
    assert listed("-q", "--query", "FRONT page") == [json_object(news, "show", "news")["id"]]
    assert len(listed("--public")) == len(listed("--limit", "1")) == 1
    assert len(listed("--mine")) == 2
    table = news.run("templates", "list", "-o", "table", env={"COLUMNS": "100"})
    assert table.stdout.split()[:4] == ["NAME", "VERSION", "PUBLIC", "PARAMETERS"]


def test_without_data_the_list_is_empty(either: Shell) -> None:
    ran = either.run("templates", "list", "--json")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "there is no template yet\n")
    assert (either.folder / "crawlyard-data").exists() == either.over_http


def test_a_template_survives_export_and_import_unchanged(news: Shell) -> None:
    for name in ("copy.yaml", "copy.json"):
        exported = news.run("templates", "export", "news", "--out", name)
        again = news.run("templates", "import", "--update", name)

        assert (exported.returncode, exported.stdout) == (0, ""), name
        assert (news.folder / name).stat().st_mode & 0o777 == 0o600, name
        assert "unchanged: news v1" in again.stderr, name
        assert news.run("templates", "import", name).returncode == 5, name
        piped = news.run("templates", "validate", "-", stdin=(news.folder / name).read_text())
        assert (piped.returncode, piped.stdout) == (0, ""), name


def test_errors_in_a_file_name_their_location(shell: Shell) -> None:
    (shell.folder / "good.yaml").write_text(NEWS)
    (shell.folder / "syntax.yaml").write_text("name: t\nspec: [")
    (shell.folder / "field.yaml").write_text(NEWS.replace("per_host", "per_hots"))

    ran = shell.run("templates", "validate", "good.yaml", "syntax.yaml", "field.yaml", "none.yaml")

    assert (ran.returncode, ran.stdout) == (2, "")
    flow = "while parsing a flow node, did not find expected node content"
    assert ran.stderr.splitlines() == [
        "good.yaml: template news (start_url, pages) is valid",
        f"error: syntax.yaml, line 3, column 1: invalid YAML: {flow}",
        "error: field.yaml: per_hots: there is no such field; did you mean per_host?",
        "error: none.yaml: cannot be read: No such file or directory",
    ]
    assert not (shell.folder / "crawlyard-data").exists()


def test_nothing_is_imported_if_one_file_is_invalid(either: Shell) -> None:
    (either.folder / "good.yaml").write_text(NEWS)
    (either.folder / "bad.yaml").write_text("name: t\nspec: {x: 1}")

    ran = either.run("templates", "import", "good.yaml", "bad.yaml")

    assert ran.returncode == 2
    assert either.json("templates", "list") == []


def test_versions_are_kept_and_restored(news: Shell) -> None:
    news.run("templates", "edit", "news", "--rename", "headlines")
    (news.folder / "next.yaml").write_text(NEWS.replace("news", "headlines").replace("10", "20"))
    news.run("templates", "edit", "headlines", "--file", "next.yaml")

    restored = news.run("templates", "restore", "headlines", "1")

    assert "changed: headlines v4" in restored.stderr
    versions = news.run("templates", "versions", "headlines").stdout.splitlines()
    assert [line.split("\t")[0] for line in versions] == ["4", "3", "2", "1"]
    allowed = [
        json_object(news, "show", "headlines", "--version", str(n))["parameters"][1]["allowed"]
        for n in (1, 3, 4)
    ]
    assert allowed == [[5, 10], [5, 20], [5, 10]]


def test_crawl_options_edit_only_their_fields_of_the_spec(news: Shell) -> None:
    before = json_object(news, "show", "news")
    words = ("--max-bytes", "5MB", "--exclude", "*/print/*", "--delay", "2s", "--name", "jobs")
    news.run("templates", "edit", "news", *words, "--max-errors", "9")
    after = json_object(news, "show", "news")

    assert (after["version"], after["name"]) == (2, "news")
    assert after["parameters"] == before["parameters"]
    assert after["spec"] == {n: v for n, v in before["spec"].items() if n != "delay"} | {
        "exclude": ["*/print/*"],
        "name": "jobs",
        "delay_s": 2,
        "limits": {"pages": "{{pages}}", "bytes": 5_000_000, "errors": 9},
    }

    cleared = ("--max-bytes", "none", "--max-errors", "none", "--exclude", "none", "--tag", "none")
    ran = news.run("templates", "edit", "news", *cleared, "--rename", "headlines")
    assert "changed: headlines v3" in ran.stderr
    spec = json_object(news, "show", "headlines")["spec"]
    assert spec.keys() == after["spec"].keys() - {"exclude", "tags"}
    assert spec["limits"] == {"pages": "{{pages}}"}

    again = news.run("templates", "edit", "headlines", *cleared)
    assert "unchanged: headlines v3" in again.stderr


def test_an_invalid_edit_names_its_option_and_creates_no_version(news: Shell) -> None:
    (news.folder / "next.yaml").write_text(NEWS)
    for words, message in (
        (["--max-depth", "deep"], "--max-depth"),
        (["--concurrency", "0"], "error: --concurrency: "),
        (["--include", "re:("], "error: --include: "),
        (["ftp://n.example/"], "error: URL: "),
        (["--max-pages", "5"], "error: parameter pages: {{pages}} is not used in the spec"),
        (["--rename", "a/b"], "error: --rename: "),
        (["--file", "next.yaml", "--max-pages", "5"], "error: --file: excludes options"),
    ):
        ran = news.run("templates", "edit", "news", *words)

        assert (ran.returncode, message in ran.stderr) == (2, True), ran.stderr

    assert json_object(news, "show", "news")["version"] == 1


def test_parameters_have_the_order_of_the_file(news: Shell) -> None:
    start, pages = (line for line in NEWS.splitlines(keepends=True) if "{type" in line)
    (news.folder / "next.yaml").write_text(NEWS.replace(start + pages, pages + start))

    ran = news.run("templates", "edit", "news", "--file", "next.yaml")

    assert "changed: news v2" in ran.stderr
    assert [p["name"] for p in json_object(news, "show", "news")["parameters"]] == [
        "pages",
        "start_url",
    ]


def editor(folder: Path, before: str, after: str) -> dict[str, str]:
    """Return the environment of an editor that replaces one word."""
    script = folder / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        f"path.write_text(path.read_text().replace({before!r}, {after!r}))\n"
    )
    return {"EDITOR": f"{sys.executable} {script}", "TMPDIR": str(folder)}


def test_a_template_is_edited_in_an_editor(news: Shell) -> None:
    ran = news.run("templates", "edit", "news", env=editor(news.folder, "- news", "- daily"))

    assert "changed: news v2" in ran.stderr
    assert json_object(news, "show", "news")["spec"]["tags"] == ["daily"]
    assert list(news.folder.glob("crawlyard-*.yaml")) == []


def test_an_invalid_draft_from_the_editor_is_saved_to_a_file(news: Shell) -> None:
    ran = news.run("templates", "edit", "news", env=editor(news.folder, "per_host", "per_hots"))

    assert ran.returncode == 2
    assert "did you mean per_host?" in ran.stderr
    assert "your changes are kept in" in ran.stderr
    [draft] = news.folder.glob("crawlyard-*.yaml")
    assert "per_hots" in draft.read_text()
    assert draft.stat().st_mode & 0o777 == 0o600
    assert json_object(news, "show", "news")["version"] == 1


def test_a_conflicting_draft_from_the_editor_is_saved_to_a_file(news: Shell) -> None:
    news.run("templates", "create", "docs", "https://a.example/")

    ran = news.run("templates", "edit", "news", env=editor(news.folder, "name: news", "name: docs"))

    assert ran.returncode == 5
    [draft] = news.folder.glob("crawlyard-*.yaml")
    assert f"your changes are kept in {draft}" in ran.stderr
    assert "name: docs" in draft.read_text()


def test_a_change_made_while_the_editor_was_open_is_not_overwritten(news: Shell) -> None:
    script = news.folder / "editor.sh"
    meanwhile = f"{sys.executable} -m crawlyard templates edit news --description theirs"
    script.write_text(f"#!/bin/sh\n{meanwhile}\necho 'description: ours' >> $1\n")
    script.chmod(0o755)
    (news.folder / "bare.yaml").write_text("name: news\nspec: {urls: ['https://a.example/']}\n")
    news.run("templates", "edit", "news", "--file", "bare.yaml")

    env = {"EDITOR": str(script), "TMPDIR": str(news.folder)}
    ran = news.run("templates", "edit", "news", env=env)

    assert ran.returncode == 5
    assert "template news is now at version 3" in ran.stderr
    assert json_object(news, "show", "news")["description"] == "theirs"


def test_an_editor_that_cannot_be_run_leaves_no_file(news: Shell) -> None:
    for command in ("vim '", "false", "no-such-editor"):
        env = {"EDITOR": command, "TMPDIR": str(news.folder)}
        ran = news.run("templates", "edit", "news", env=env)

        assert ran.returncode == 2, command
        assert "$EDITOR: " in ran.stderr, command
        assert list(news.folder.glob("crawlyard-*.yaml")) == [], command


def test_without_an_editor_an_edit_says_what_to_do(news: Shell) -> None:
    none = news.run("templates", "edit", "news")
    failing = news.run("templates", "edit", "news", env={"EDITOR": "false"})

    assert (none.returncode, failing.returncode) == (2, 2)
    assert "no $EDITOR is set" in none.stderr
    assert "false ended with 1; nothing was changed" in failing.stderr


def test_publishing_lists_the_credentials_it_strips(either: Shell) -> None:
    header = ("--header", "Authorization: Bearer s3cret")
    either.run("templates", "create", "docs", "https://a.example/", *header)

    ran = either.run("templates", "publish", "docs", "--json")

    assert json.loads(ran.stdout)["stripped"] == ["headers.Authorization"]
    assert "without its credentials: headers.Authorization" in ran.stderr
    assert "s3cret" not in either.run("templates", "export", "docs").stdout
    first = either.run("templates", "export", "docs", "--version", "1")
    assert "Bearer s3cret" in first.stdout
    assert "the file contains credentials: headers.Authorization" in first.stderr
    assert "private: docs v3" in either.run("templates", "unpublish", "docs").stderr


def test_templates_are_duplicated_and_deleted(news: Shell) -> None:
    news.run("templates", "duplicate", "news")
    news.run("templates", "duplicate", "news", "--name", "other")

    unconfirmed = news.run("templates", "delete", "news")
    deleted = news.run("templates", "delete", "news", "news copy", "--yes")

    assert unconfirmed.returncode == 2
    assert "pass --yes" in unconfirmed.stderr
    assert deleted.returncode == 0
    assert [t["name"] for t in _list_templates(news)] == ["other"]
    assert news.run("templates", "show", "news").returncode == 3


def test_a_job_outlives_its_template(news: Shell, site: str) -> None:
    news.run("crawl", "--template", "news", "-p", f"start_url={site}/", *FAST)
    whole = json_object(news, "show", "news")["id"]

    news.run("templates", "delete", "news", "--yes")

    assert f"template\t{whole} v1\n" in news.run("jobs", "show", "last").stdout


def _list_templates(shell: Shell) -> list[Mapping[str, Any]]:
    templates = shell.json("templates", "list")
    assert isinstance(templates, list)
    return templates


SECRETIVE = """\
name: secretive
parameters:
  token: {default: s3cret}
spec:
  urls: [https://docs.example.org/]
  headers: {Authorization: 'Bearer {{token}}'}
"""


def test_publishing_lists_schedules_with_credentials_and_asks_for_confirmation(
    either: Shell,
) -> None:
    (either.folder / "secretive.yaml").write_text(SECRETIVE)
    either.run("templates", "import", "secretive.yaml")
    either.run("schedules", "create", "nightly", "--when", "@daily", "--template", "secretive")
    words = ("templates", "publish", "secretive")

    alone = either.run(*words)
    declined, screen = on_terminal(either, *words, typed="n\n")
    unchanged = json_object(either, "show", "secretive")
    done = either.run(*words, "--yes")

    assert alone.returncode == 2
    assert "used by 1 schedule of local; confirm" in alone.stderr
    assert "nightly (params.token); without a terminal to confirm on, pass --yes" in alone.stderr
    assert declined == 8
    assert "nightly (params.token)" in screen
    assert "nothing was published" in screen
    assert unchanged["public"] is False
    assert done.returncode == 0, done.stderr
    assert "credentials kept by schedules: nightly (params.token)" in done.stderr
    schedule = either.json("schedules", "show", "nightly")
    assert isinstance(schedule, dict)
    assert schedule["params"] == {"token": "***"}
