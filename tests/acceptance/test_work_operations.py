"""`crawlyard work --drain`: bulk operations that wait are done, and so is what they make."""

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
async def its_yard(shell: Shell) -> AsyncIterator[Yard]:
    async with Yard.open(Settings(data_dir=shell.folder / "crawlyard-data")) as yard:
        yield yard


def listed(shell: Shell, *words: str) -> list[dict[str, Any]]:
    found = shell.run(*words, "-o", "jsonl")
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.parametrize("options", [(), ("--no-scheduler",)])
async def test_an_operation_that_waits_comes_before_the_jobs_that_it_is_about(
    shell: Shell, options: tuple[str, ...]
) -> None:
    spec = JobSpec(urls=("http://127.0.0.1:9/",), allow_private=True)
    async with its_yard(shell) as yard:
        made = [(await submit(yard, spec)).id for _ in range(AT_ONCE + 1)]
        bulk = Bulk(yard.services.writer, yard.operations)
        asked = BulkAction(action=JobAction.CANCEL, reason="too many")
        begun = await bulk.act(LOCAL, asked, Chosen(ids=tuple(made)))

    drained = shell.run("work", "--drain", *options)

    jobs = listed(shell, "jobs", "list", "--limit", "0")
    [operation] = listed(shell, "ops", "list")
    assert begun.operation is not None
    assert drained.returncode == 0, drained.stderr
    assert {(job["state"], job["detail"], job["started_at"]) for job in jobs} == {
        ("cancelled", "too many", None)
    }
    assert (operation["state"], operation["done"]) == ("completed", AT_ONCE + 1)


async def test_jobs_that_an_operation_makes_are_run_as_well(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "--max-pages", "2", "-q")
    first = str(shell.job()["id"])
    async with its_yard(shell) as yard:
        await Surface(yard.services, LOCAL).settings.put("grants", json.loads(GRANTS))
        await yard.operations.start(LOCAL, OperationKind.JOBS, a_retry(first), 1)

    drained = shell.run("work", "--drain")

    again, before = listed(shell, "jobs", "list")
    assert drained.returncode == 0, drained.stderr
    assert (before["id"], again["retry_of"]) == (first, first)
    assert (again["state"], again["usage"]["pages"]) == ("completed", 2)
