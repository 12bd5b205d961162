"""`crawlyard.sync`: the same surface without async."""

import pydoc
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from msgspec import json

from crawlyard import JobManager, Scheduler, Settings, TemplateManager, sync
from crawlyard.errors import NotFound
from tests import sync_stub
from tests.web.rig import URL


def test_its_types_are_made_of_the_endpoints() -> None:
    assert sync_stub.STUB.read_text("utf-8") == sync_stub.stub_text()


def test_an_instance_of_this_process_is_used_without_a_loop(tmp_path: Path) -> None:
    with sync.open(Settings(data_dir=tmp_path)) as yard:
        jobs = [yard.jobs.create({"urls": [URL]}) for _ in range(3)]
        assert {job.due_in_s for job in jobs} == {0}  # they are due by now
        job_ids = [job.id for job in jobs]
        yard.jobs.cancel(job_ids[0])

        listed_ids = [job.id for job in sync.every(yard.jobs.list, limit=2)]
        states = {job.id: job.state for job in yard.jobs.list().items}
        csv = b"".join(yard.results.export(job_ids[0]))
        event = next(iter(yard.events.stream(after=1)))
        with pytest.raises(NotFound):
            yard.jobs.get("0192")

    assert listed_ids == job_ids[:0:-1]
    assert states[job_ids[0]] == "cancelled"
    assert csv == b""
    assert (event.seq, event.name) == (2, "job.created")


def test_a_synchronous_client_needs_no_event_loop() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"object": "list", "items": [], "has_more": False})

    from crawlyard.api import blocking  # noqa: PLC0415

    transport = httpx.MockTransport(answer)
    with blocking.connect("http://127.0.0.1:1", "cyt_x", transport=transport) as yard:
        assert yard.jobs.list(state="failed").items == []


def test_keys_of_jobs_and_of_calls_need_no_event_loop(tmp_path: Path) -> None:
    with sync.open(Settings(data_dir=tmp_path)) as yard:
        job = yard.jobs.create(URL, unique_key="a")
        repeated = [yard.jobs.create(URL, idempotency_key="b") for _ in range(2)]
        assert yard.jobs.create(URL, unique_key="a").id == job.id != repeated[0].id
        assert repeated[0].id == repeated[1].id

    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=json.encode(job))

    from crawlyard.api import blocking  # noqa: PLC0415

    transport = httpx.MockTransport(answer)
    with blocking.connect("http://127.0.0.1:1", "cyt_x", transport=transport) as yard:
        assert yard.jobs.create(URL, unique_key="a", idempotency_key="b").id == job.id
    [sent] = requests
    assert sent.headers["idempotency-key"] == "b"
    assert json.decode(sent.content) == {"urls": [URL], "unique_key": "a"}


def test_help_shows_the_parameters_of_a_method(tmp_path: Path) -> None:
    with sync.open(Settings(data_dir=tmp_path)) as yard:
        create = pydoc.plain(pydoc.render_doc(yard.jobs.create))
        jobs = pydoc.plain(pydoc.render_doc(yard.jobs))

    assert "template: str | None = None" in create
    assert "max_pages=500" in create
    for method in ("cancel(job_id: str", "run(crawl", "pages(job_id: str", "wait(job_id: str"):
        assert method in jobs


def test_the_names_of_managers_are_those_of_the_nouns(tmp_path: Path) -> None:
    with sync.open(Settings(data_dir=tmp_path)) as yard:
        names = [type(noun).__name__ for noun in (yard.jobs, yard.templates, yard.schedules)]

    nouns = (JobManager, TemplateManager, Scheduler)
    assert names == [noun.__name__ for noun in nouns] == ["Jobs", "Templates", "Schedules"]


_FOUR_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from crawlyard import Settings, sync

barrier = Barrier(4)

def count_jobs(number):
    barrier.wait()
    with sync.open(Settings(data_dir=f"{sys.argv[1]}/{number}")) as yard:
        return len(yard.jobs.list().items)

with ThreadPoolExecutor(4) as pool:
    print(*pool.map(count_jobs, range(4)))
"""


def test_threads_may_use_the_package_for_the_first_time_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FOUR_THREADS, str(tmp_path)]

    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("0 0 0 0\n", "")
