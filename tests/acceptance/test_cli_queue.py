"""Queue options of the command line: worker tags, reserved slots, bytes per day, idempotency."""

import json
from typing import Any

import pytest

from tests.acceptance.shell import FAST, Shell


def json_object(shell: Shell, *words: str) -> dict[str, Any]:
    """Return the JSON object that a command writes."""
    ran = shell.run(*words, "-o", "json")
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def test_a_job_that_needs_a_tag_waits_for_a_worker_that_has_it(shell: Shell, site: str) -> None:
    options = ("--max-pages", "2", "--worker-tag", "eu", "--worker-tag", "gpu")
    shell.run("crawl", "-d", site, *FAST, *options)
    without = shell.run("work", "--drain", "--tag", "eu")
    waiting = json_object(shell, "jobs", "show", "last")

    with_all = shell.run("work", "--drain", "--tag", "eu", "--tag", "gpu")

    assert (without.returncode, with_all.returncode) == (0, 0), with_all.stderr
    assert (waiting["state"], waiting["spec"]["worker_tags"]) == ("pending", ["eu", "gpu"])
    assert json_object(shell, "jobs", "show", "last")["state"] == "completed"


def test_worker_tags_can_come_from_the_environment(shell: Shell, site: str) -> None:
    shell.run("crawl", "-d", site, *FAST, "--max-pages", "2", "--worker-tag", "eu")

    drained = shell.run("work", "--drain", env={"CRAWLYARD_WORKER_TAGS": "gpu, eu"})

    assert drained.returncode == 0, drained.stderr
    assert json_object(shell, "jobs", "show", "last")["state"] == "completed"


def test_worker_tags_of_a_waiting_job_can_be_changed(shell: Shell, site: str) -> None:
    shell.run("crawl", "-d", site, *FAST, "--max-pages", "2", "--worker-tag", "eu")

    changed = json_object(shell, "jobs", "set", "last", "worker_tags=-eu")
    drained = shell.run("work", "--drain")

    assert changed["spec"]["worker_tags"] == []
    assert drained.returncode == 0, drained.stderr
    assert json_object(shell, "jobs", "show", "last")["state"] == "completed"


def test_a_crawl_in_the_foreground_ignores_worker_tags(shell: Shell, site: str) -> None:
    crawled = shell.run("crawl", site, *FAST, "--max-pages", "2", "--worker-tag", "eu", "-q")

    assert crawled.returncode == 0, crawled.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("work", "--drain", "--tag", "two words"), "expected 1 to 64 letters"),
        (("work", "--drain", "--reserve-urgent", "257"), "--reserve-urgent"),
        (("crawl", "-d", "https://example.org", "--worker-tag", "a/b"), "--worker-tag:"),
    ],
)
def test_invalid_tags_and_slot_counts_are_refused(
    shell: Shell, words: tuple[str, ...], message: str
) -> None:
    refused = shell.run(*words)

    assert refused.returncode == 2
    assert message in refused.stderr


def test_slots_are_reserved_for_urgent_jobs(shell: Shell, site: str) -> None:
    shell.run("crawl", "-d", site, *FAST, "--max-pages", "2", "--priority", "high")
    shell.run("crawl", "-d", site, *FAST, "--max-pages", "2", "--priority", "urgent")

    drained = shell.run("work", "--drain", "--jobs", "1", "--reserve-urgent", "1")

    listed = shell.run("jobs", "list", "-o", "jsonl").stdout.splitlines()
    states = {job["spec"]["priority"]: job["state"] for job in map(json.loads, listed)}
    assert drained.returncode == 0, drained.stderr
    assert states == {"urgent": "completed", "high": "pending"}


def test_a_users_bytes_per_day_are_set_and_removed(shell: Shell) -> None:
    set_ = json_object(shell, "users", "create", "ada", "--max-bytes-per-day", "20GB")
    cleared = json_object(shell, "users", "set", "ada", "--max-bytes-per-day", "none")

    assert set_["quota"]["bytes_per_day"] == 20_000_000_000
    assert cleared["quota"]["bytes_per_day"] is None


URL = "https://docs.example.org/"


def test_repeating_a_command_with_its_idempotency_key_creates_nothing(either: Shell) -> None:
    crawl = ("crawl", "-d", URL)
    schedule = ("schedules", "create", "s", "--when", "@daily", URL)
    for command in (crawl, schedule, ("schedules", "run", "s"), ("templates", "create", "t", URL)):
        written = [
            either.run(*command, "--idempotency-key", "".join(command[:2]), "--json")
            for _ in range(2)
        ]
        assert [ran.returncode for ran in written] == [0, 0], written[1].stderr
        ids = [json.loads(ran.stdout)["id"] for ran in written]
        assert ids[0] == ids[1]

    other = either.run(*crawl, "--max-pages", "3", "--idempotency-key", "crawl-d")
    assert other.returncode == 1
    assert "used for another" in other.stderr


def test_repeating_a_check_or_import_with_its_key_creates_nothing(shell: Shell, site: str) -> None:
    news = {"name": "Nachrichten für alle", "spec": {"urls": [URL]}}
    (shell.folder / "news.json").write_text(json.dumps(news))
    small = (*FAST, "--max-pages", "2", "--allow-incomplete")
    check = ("check", site, *small, "--idempotency-key", "check")
    import_ = ("templates", "import", "news.json", "--idempotency-key", "import")

    checks = [json_object(shell, *check)["job_id"] for _ in range(2)]
    templates = [json_object(shell, *import_)["id"] for _ in range(2)]

    assert checks[0] == checks[1]
    assert templates[0] == templates[1]
