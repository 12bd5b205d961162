"""Changes between two jobs and in runs of schedules, local and remote."""

from typing import Any

import pytest

from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.surface import Surface
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded
from tests.web.rig import Rig

URL = "https://example.com/"


async def crawled(rig: Rig, texts: dict[str, str], missing: str = "") -> str:
    """Return the id of a job that has come to its end with these pages."""
    new_job = await rig.job()
    store, now = rig.yard.store, rig.clock.now()
    claim = await claimed(store, (await store.jobs.get(new_job["id"])).job)
    outcomes = []
    for path, text in texts.items():
        fields: dict[str, Any] = {
            "sha256": f"sha of {text}",
            "content_rule": "main",
            "content_hash": f"hash of {text}",
            "content_version": 1,
        }
        outcomes.append(done(a_target(path), {Body.TEXT: text.encode()}, **fields))
    if missing:
        outcomes.append(failed(a_target(missing), ErrorKind.HTTP_4XX, status=404))
    batch = a_batch([outcome.target for outcome in outcomes], outcomes)
    answer = await recorded(store, claim.lease, batch)
    job = (await store.jobs.get(new_job["id"])).job
    reason = StateReason.EXHAUSTED
    moved = job.apply_move(Move.COMPLETE, now, actor="worker:w1", reason=reason)
    await store.leases.settle(answer.lease, *moved)
    return str(new_job["id"])


async def test_two_jobs_are_compared_alike_near_and_far(rig: Rig, yard: Surface) -> None:
    first = await crawled(rig, {"": "start", "a": "a word\nand more", "b": "b", "c": "c"})
    other = await crawled(rig, {"": "start", "a": "a line\nand more", "n": "n"}, missing="b")

    diff = await yard.results.diff(first, other)

    changes = [(c.kind, c.url.removeprefix(URL), c.added, c.removed, c.share) for c in diff.items]
    assert changes == [
        ("changed", "a", 1, 1, 0.5),
        ("new", "n", None, None, None),
        ("gone", "b", None, None, None),
        ("gone", "c", None, None, None),
    ]
    assert (diff.earlier, diff.later, diff.has_more) == (first, other, False)
    counts = {kind: count for kind, count in diff.counts.items() if count}
    assert counts == {"changed": 1, "new": 1, "gone": 2, "same": 1}
    removed_urls = [c.url async for c in every(yard.results.diff, first, other, only="gone")]
    assert removed_urls == [f"{URL}b", f"{URL}c"]
    quiet = await yard.results.diff(first, other, ignore_text="re:^a, |^a ")
    assert (quiet.counts["noise"], quiet.counts["changed"]) == (1, 0)

    page = await yard.results.page_diff(first, other, f"{URL}a")
    assert page.text.splitlines() == ["@@ -1,2 +1,2 @@", "-a [-word-]", "+a {+line+}", " and more"]
    with pytest.raises(NotFound):
        await yard.results.page_diff(first, other, f"{URL}nowhere")
    with pytest.raises(Invalid, match="only"):
        await yard.results.diff(first, other, only="other")
    with pytest.raises(Invalid, match="ignore_text"):
        await yard.results.diff(first, other, ignore_text="re:[")


async def test_a_list_that_was_begun_is_read_on_though_others_are_compared(
    rig: Rig, yard: Surface
) -> None:
    base_id = await crawled(rig, {str(n): "text" for n in range(9)})
    other_ids = [await crawled(rig, {str(n): f"{i}" for n in range(9)}) for i in range(4)]
    first = await yard.results.diff(base_id, other_ids[0], limit=5)
    for other in other_ids:
        await yard.results.diff(base_id, other)
    rest = await yard.results.diff(base_id, other_ids[0], limit=5, cursor=first.next_cursor)
    assert len({c.url for c in first.items + rest.items}) == 9
    assert rest.next_cursor is None


async def test_jobs_of_others_are_not_compared(rig: Rig) -> None:
    mine = await crawled(rig, {"a": "a"})
    await rig.user("ada")
    foreign_id = (await rig.job("ada"))["id"]
    for path in (f"jobs/{mine}/diff/{foreign_id}", f"jobs/{foreign_id}/diff/{mine}"):
        answer = await rig.get(path, by="ada")
        assert (answer.status_code, "there is no job" in answer.text) == (404, True)
