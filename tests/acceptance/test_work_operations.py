"""`crawlyard work --drain` runs waiting bulk operations and the jobs they create."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crawlyard import LOCAL, JobSpec, Settings, Yard
from crawlyard.core.operations.bulk import BulkAction, Chosen, JobAction
from crawlyard.core.operations.operation import OperationKind
from crawlyard.services.operations.bulk import AT_ONCE, Bulk
from crawlyard.services.surface import Surface
from tests.acceptance.shell import FAST, GRANTS, Shell
from tests.builders_serve import a_retry
from tests.jobs import submit


@asynccontextmanager
async def open_yard(shell: Shell) -> AsyncIterator[Yard]:
    async with Yard.open(Settings(data_dir=shell.folder / "crawlyard-data")) as yard:
        yield yard


def json_lines(shell: Shell, *words: str) -> list[dict[str, Any]]:
    ran = shell.run(*words, "-o", "jsonl")
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("options", [(), ("--no-scheduler",)])
async def test_a_waiting_operation_runs_before_the_jobs_it_changes(
    shell: Shell, options: tuple[str, ...]
) -> None:
    spec = JobSpec(urls=("http://127.0.0.1:9/",), allow_private=True)
    async with open_yard(shell) as yard:
        job_ids = [(await submit(yard, spec)).id for _ in range(AT_ONCE + 1)]
        bulk = Bulk(yard.services.writer, yard.operations)
        cancel = BulkAction(action=JobAction.CANCEL, reason="too many")
        begun = await bulk.act(LOCAL, cancel, Chosen(ids=tuple(job_ids)))

    drained = shell.run("work", "--drain", *options)

    jobs = json_lines(shell, "jobs", "list", "--limit", "0")
    [operation] = json_lines(shell, "ops", "list")
    assert begun.operation is not None
    assert drained.returncode == 0, drained.stderr
    assert {(job["state"], job["detail"], job["started_at"]) for job in jobs} == {
        ("cancelled", "too many", None)
    }
    assert (operation["state"], operation["done"]) == ("completed", AT_ONCE + 1)


async def test_jobs_created_by_an_operation_run_too(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "--max-pages", "2", "-q")
    first = str(shell.job()["id"])
    async with open_yard(shell) as yard:
        await Surface(yard.services, LOCAL).settings.put("grants", json.loads(GRANTS))
        await yard.operations.start(LOCAL, OperationKind.JOBS, a_retry(first), 1)

    drained = shell.run("work", "--drain")

    again, before = json_lines(shell, "jobs", "list")
    assert drained.returncode == 0, drained.stderr
    assert (before["id"], again["retry_of"]) == (first, first)
    assert (again["state"], again["usage"]["pages"]) == ("completed", 2)
