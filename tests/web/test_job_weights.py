"""A list of jobs sends what lists show, and other fields to who names them."""

from datetime import timedelta
from typing import get_args

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import fields

from crawlyard.core.answer import encode_answer, only, shorten_shape
from crawlyard.core.endpoints.endpoint import endpoints_of
from crawlyard.core.jobs.answers import JOB_LISTED, JobOut
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.limits import Usage
from crawlyard.services.jobs.jobs import Jobs
from tests.builders import LEASE
from tests.web.rig import Rig


async def ended(rig: Rig, name: str) -> str:
    """Return the id of a new job that is completed."""
    job = await rig.job(name=name, urls=[f"https://{name}.example.org/guide/"], tags=["nightly"])
    store = rig.yard.store
    claim = await store.leases.claim(Asker("w", only=job["id"]), rig.clock.now(), LEASE)
    assert claim is not None
    usage = Usage(pages=1_234, done=1_240, errors=6, discovered=1_240, duration_s=654.321)
    batch = Batch(usage=usage)
    [answer] = await store.frontier.record([(claim.lease, batch)], rig.clock.now(), LEASE)
    await rig.clock.advance(timedelta(minutes=11, microseconds=7))
    now = (await store.jobs.get(job["id"])).job
    after = now.apply_move(Move.COMPLETE, rig.clock.now(), actor="w")
    await store.leases.settle(answer.lease, *after)
    return str(job["id"])


async def test_fifty_jobs_of_a_list_weigh_at_most_25_kb(rig: Rig) -> None:
    for n in range(25):
        await ended(rig, f"docs{n}")
    for n in range(25):
        await rig.job(name=f"manual{n}", urls=[f"https://manual{n}.example.org/"], tags=["news"])

    answer = await rig.get("jobs?limit=50")

    assert len(answer.json()["items"]) == 50
    assert len(answer.content) <= 25_000


async def test_an_item_of_a_list_has_the_shape_that_the_document_declares(rig: Rig) -> None:
    job_id = await ended(rig, "docs")
    shape = shorten_shape(JobOut, JOB_LISTED, "JobItemOut")

    [item] = (await rig.get("jobs")).json()["items"]
    [fuller] = (await rig.get("jobs?fields=id,usage.bytes,spec,waits_for,links")).json()["items"]

    read = msgspec.json.decode(msgspec.json.encode(item), type=shape)
    assert msgspec.json.decode(msgspec.json.encode(read)) == item
    assert (item["id"], item["spec"]) == (job_id, {"name": "docs", "tags": ["nightly"]})
    assert item["progress"] == {"done": 1_240, "discovered": 1_240, "failed": 6, "pages": 1_234}
    whole = (await rig.get(f"jobs/{job_id}")).json()
    assert fuller["usage"] == {"bytes": whole["usage"]["bytes"]}
    assert fuller == {
        name: fuller["usage"] if name == "usage" else whole[name]
        for name in ("id", "usage", "spec", "waits_for", "links")
    }


class Heavy(Struct):
    name: str
    parts: tuple[dict[str, object], ...]
    rest: object


def test_what_is_left_out_of_an_answer_is_not_encoded() -> None:
    no_json = object()
    heavy = Heavy("docs", ({"a": 1, "b": no_json}, {"a": 2}), no_json)
    with pytest.raises(TypeError):
        encode_answer(heavy)

    light = only([heavy], {"name": {}, "parts": {"a": {}}})

    assert encode_answer(light) == b'[{"name":"docs","parts":[{"a":1},{"a":2}]}]'


def test_the_fields_of_a_list_are_fields_of_its_items() -> None:
    [listed] = [endpoint for endpoint in endpoints_of(Jobs).values() if endpoint.listed]
    assert get_args(listed.returns) == (JobOut,)
    for path in listed.listed:
        kind = JobOut
        for name in path.split("."):
            kind = {field.name: field.type for field in fields(kind)}[name]
