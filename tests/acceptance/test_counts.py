"""The counts of a job are the same everywhere they are shown (docs/reference/counts.md)."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from crawlyard.core.jobs.limits import Limits
from crawlyard.demo.server import SiteServer
from tests.acceptance.shell import Shell, serving
from tests.counted_site import DEAD, FOUND_BEFORE_LIMIT, LIMIT, NUMBERS, CountedSite
from tests.engine.rig import a_spec, crawled, opened


@pytest.mark.slow  # two crawls, a server and five commands
async def test_every_place_shows_the_same_numbers_of_a_job(tmp_path: Path) -> None:
    async with SiteServer(CountedSite()) as server, opened(tmp_path, database_url="") as yard:
        url = f"{server.url}/"
        whole = await crawled(yard, a_spec(url, DEAD, per_host=1))
        limited = await crawled(yard, a_spec(url, per_host=1, limits=Limits(pages=LIMIT)))

    await asyncio.to_thread(compare, tmp_path, whole.job.id, limited.job.id)


def compare(folder: Path, whole: str, limited: str) -> None:
    """Compare the counts of both jobs in commands, the API and the metrics."""
    here = Shell(folder, {"CRAWLYARD_DATA_DIR": "data"})
    secret = here.run("tokens", "create", "counts").stdout.strip()
    with serving(here, secret) as shell:
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=shell.env["CRAWLYARD_SERVER"], headers=headers) as client:
            every = numbers_of(here, client, whole)
            part = numbers_of(here, client, limited)
            metrics = client.get("/metrics").text

    assert every == NUMBERS
    assert (part["pages"], part["found"]) == (LIMIT, FOUND_BEFORE_LIMIT)
    assert part["waiting"] == part["found"] - part["done"]
    assert f"crawlyard_pages_total {every['pages'] + part['pages']:.1f}" in metrics
    assert f"crawlyard_url_errors_total {every['failed'] + part['failed']:.1f}" in metrics


def numbers_of(here: Shell, client: httpx.Client, job_id: str) -> Mapping[str, int]:
    """Return the counts of a job after checking that every place shows the same."""

    def get(path: str) -> Any:
        answer = client.get(f"/api/v1/jobs{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    job = get(f"/{job_id}")
    [in_list] = [row for row in get("")["items"] if row["id"] == job_id]
    progress, usage = job["progress"], job["usage"]
    whole_map = get(f"/{job_id}/map")
    site_map = whole_map["total"]
    exported = [json.loads(line) for line in here.run("jobs", "export", job_id).stdout.splitlines()]
    text = here.run("jobs", "show", job_id).stdout

    answered = [page for page in exported if page["status"] is not None]
    numbers = {
        "found": progress["discovered"],
        "done": progress["done"],
        "fetched": site_map["fetched"],
        "failed": progress["failed"],
        "redirected": site_map["redirected"],
        "skipped": usage["skipped"],
        "waiting": site_map["waiting"],
        "pages": progress["pages"],
    }
    assert in_list["progress"].items() <= progress.items()
    assert (usage["discovered"], usage["done"]) == (numbers["found"], numbers["done"])
    assert (usage["errors"], usage["pages"]) == (numbers["failed"], numbers["pages"])
    assert numbers["found"] - numbers["done"] == numbers["waiting"]
    assert len(get(f"/{job_id}/frontier")["items"]) == numbers["waiting"]
    assert site_map["skipped"] + whole_map["skipped_elsewhere"] == numbers["skipped"]
    assert site_map["failed"] == numbers["failed"]
    assert sum(group["count"] for group in get(f"/{job_id}/errors")["items"]) == numbers["failed"]
    assert len([page for page in exported if page["error"]]) == numbers["failed"]
    assert len([page for page in exported if not page["error"]]) == numbers["fetched"]
    assert len(answered) == numbers["pages"]
    assert (
        sum(rule["count"] for rule in get(f"/{job_id}/skipped/rules")["items"])
        == numbers["skipped"]
    )
    failed = f" · {numbers['failed']} failed"
    assert f"{numbers['done']}/{numbers['found']} URLs{failed}" in text
    return numbers
