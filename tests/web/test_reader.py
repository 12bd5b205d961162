"""The Markdown of a page over HTTP, as nodes for the dashboard."""

import subprocess
import sys

import pytest

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.crawl.page import Body
from crawlyard.web.reader import MAX_CHARACTERS
from tests.builders import a_batch, a_target, done
from tests.conformance.steps import claimed, recorded
from tests.web.crawled import crawled
from tests.web.rig import Rig, problem


def address(job_id: str, page_id: object) -> str:
    return f"/jobs/{job_id}/pages/{page_id}/reader"


async def test_markup_in_a_page_is_text(rig: Rig) -> None:
    job_id, _ = await crawled(rig)

    answer = await rig.get(address(job_id, 1))

    assert answer.headers["content-type"] == "application/json"
    text = "<script>alert(1)</script> Ünïcode"
    assert answer.json() == {"nodes": [["p", {}, text]], "whole": True}


async def test_only_the_beginning_of_a_long_page_is_parsed(rig: Rig) -> None:
    job = await rig.job()
    store = rig.yard.store
    claim = await claimed(store, (await store.jobs.get(job["id"])).job)
    target = a_target("long")
    outcome = done(target, {Body.TEXT: b"x" * (MAX_CHARACTERS + 1)})
    await recorded(store, claim.lease, a_batch([target], [outcome]))

    answer = (await rig.get(address(job["id"], 1))).json()

    assert answer == {"nodes": [["p", {}, "x" * MAX_CHARACTERS]], "whole": False}


async def test_the_reader_is_for_those_who_may_read_the_results_of_the_job(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    await rig.user("mara")
    narrow = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))

    assert problem(await rig.get(address(job_id, 1), by=None)) == (401, "unauthenticated")
    assert problem(await rig.get(address(job_id, 1), by="mara")) == (404, "not_found")
    assert problem(await rig.get(address(job_id, 1), secret=narrow)) == (403, "forbidden")


@pytest.mark.parametrize("page_id", [2, 99, 0, -1, "x", 2**63])
async def test_a_page_that_has_no_text_or_does_not_exist_is_not_found(
    rig: Rig, page_id: object
) -> None:
    job_id, _ = await crawled(rig)

    assert problem(await rig.get(address(job_id, page_id))) == (404, "not_found")


def test_a_server_does_not_load_the_parser_before_it_shows_a_page() -> None:
    program = "import sys, crawlyard.web.app; print('markdown_it' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert run.stdout == "False\n"
