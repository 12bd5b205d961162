"""Streams over a socket: who hears what, what a break costs, and how they end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.access.credential import CredentialKind
from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.web.live import catch_up, hub
from crawlyard.web.live.stream import MAX_QUEUED
from tests.builders import a_job, a_spec, its_event
from tests.jobs import a_submitter, submit_to
from tests.web.live_rig import Listener, LiveRig, a_live_rig
from tests.web.rig import problem


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory()) as rig:
        yield rig


def ids(listener: Listener) -> list[int]:
    return [message.id for message in listener.messages if message.id is not None]


async def test_a_stream_begins_with_hello_and_how_things_stand(live: LiveRig) -> None:
    await live.job()

    async with live.listen(headers={"Accept-Encoding": "gzip"}) as listener:
        hello = await listener.next()
        counts = await listener.until("counts")
        progress = await listener.until("jobs.progress")

    headers = listener.answer.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store")
    assert "content-encoding" not in headers
    assert (hello.event, hello.data["heartbeat_s"], hello.data["progress_hz"]) == ("hello", 15, 10)
    assert hello.data["seq"] == await live.rig.yard.store.events.last()
    assert counts.data["pending"] == 1
    assert progress.data["jobs"] == []


async def test_an_event_comes_with_its_id_and_the_row_of_its_job(live: LiveRig) -> None:
    async with live.listen() as listener:
        await listener.until("hello")
        job_id = await live.job()
        created = await listener.until("job.created")
        await live.rig.post(f"jobs/{job_id}/pause", {"reason": "lunch"})
        paused = await listener.until("job.state")
        await live.rig.post(f"jobs/{job_id}/cancel")
        await listener.until("job.state")
        await live.rig.ask("DELETE", f"jobs/{job_id}")
        deleted = await listener.until("job.deleted")

    assert created.data["job"]["state"] == "pending"
    assert (paused.data["type"], paused.data["to"]) == ("job.paused", "paused")
    assert paused.data["id"] == paused.id
    assert paused.data["job"]["v"] >= 2
    assert (deleted.data["job_id"], deleted.data["job"]) == (job_id, None)
    assert ids(listener) == sorted(set(ids(listener)))


async def test_a_client_that_reconnects_gets_each_event_once(live: LiveRig) -> None:
    seq = int((await live.rig.get("jobs")).headers["x-event-seq"])
    seqs: list[int] = []

    async def write() -> None:
        for _ in range(60):
            await live.job()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        async with live.listen(after=seq) as listener:
            seqs += [m.id or 0 for m in await listener.durable(3)]
        while len(seqs) < 60:
            # as a browser does: the URL is that of the first time
            again = {"Last-Event-ID": str(seqs[-1])}
            async with live.listen(headers=again, after=seq) as listener:
                seqs += [m.id or 0 for m in await listener.durable(min(7, 60 - len(seqs)))]

    assert seqs == list(range(seq + 1, seq + 61))


async def test_events_written_by_another_process_are_sent(tmp_path: Path) -> None:
    server, other = [await open_sql_store(tmp_path / "yard.db") for _ in range(2)]
    submitter = a_submitter(other, SystemClock())
    subjects: list[str] = []
    async with a_live_rig(server) as live:
        last = await server.events.last()

        async def write() -> list[str]:
            return [(await submit_to(submitter, LOCAL, a_spec())).id for _ in range(40)]

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            while len(subjects) < 40:
                async with live.listen(after=last) as listener:
                    new_messages = await listener.durable(min(9, 40 - len(subjects)))
                subjects += [message.subject for message in new_messages]
                last = new_messages[-1].id or 0
    for store in (server, other):
        await store.close()

    assert subjects == writing.result()


async def test_events_of_other_users_are_never_sent(live: LiveRig) -> None:
    for name in ("ada", "bob"):
        await live.rig.user(name)
    before = await live.job("bob")
    after = (await live.rig.yard.store.events.last()) - 1

    async with live.listen(by="ada", after=after) as listener, live.listen() as admin:
        await admin.until("hello")
        his, hers = await live.job("bob"), await live.job("ada")
        created = await listener.until("job.created")
        counts = await listener.until("counts")
        while counts.data["pending"] == 0:
            counts = await listener.until("counts")
        everything = [m.subject for m in await admin.durable(2)]

    assert created.subject == hers
    assert counts.data["pending"] == 1
    transcript = repr(listener.messages)
    assert his not in transcript
    assert before not in transcript
    assert "bob" not in transcript
    assert everything == [his, hers]


async def test_a_stream_ends_when_its_token_is_revoked(live: LiveRig) -> None:
    token = (await live.rig.post("tokens", {"name": "ci"})).json()
    live.rig.secrets["ci"] = token["token"]

    async with live.listen(by="ci") as listener, live.listen() as other:
        await listener.until("hello")
        await live.rig.ask("DELETE", f"tokens/{token['id']}")
        messages = await listener.ended()
        await live.job()
        await other.until("job.created")

    assert (messages[-1].event, messages[-1].data) == ("bye", {"reason": "auth"})
    async with live.listen(by="ci") as listener:
        assert problem(listener.answer) == (401, "unauthenticated")


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "viewer"}])
async def test_a_stream_ends_when_its_user_has_lost_a_right(
    live: LiveRig, change: dict[str, object]
) -> None:
    await live.rig.user("ada")
    async with live.listen(by="ada") as listener:
        await listener.until("hello")
        await live.rig.ask("PATCH", "users/ada", json=change)
        messages = await listener.ended()
    assert messages[-1].event == "bye"


async def test_a_stream_ends_when_its_session_is_signed_out(live: LiveRig) -> None:
    session = await live.rig.site.yard.services.access.sign_in(live.rig.secrets[LOCAL.id])
    cookie = {"Cookie": f"crawlyard={session.secret}"}
    async with live.client.stream("GET", "/api/v1/events/stream", headers=cookie) as answer:
        listener = Listener(answer)
        await listener.until("hello")
        out = await live.client.post(
            "/api/v1/auth/logout",
            headers=cookie | {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"},
        )
        messages = await listener.ended()

    assert out.status_code == 204
    assert session.credential.kind is CredentialKind.SESSION
    assert messages[-1].event == "bye"


async def test_a_client_that_missed_too_many_events_resyncs(
    live: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "MAX_REPLAYED", 2)
    first = await live.rig.yard.store.events.last()
    for _ in range(3):
        await live.job()
    last = first + 3

    async with live.listen(after=first) as listener:
        await listener.next()
        gap = await listener.next()
        await live.job()
        later = await listener.until("job.created")
    async with live.listen(after=last - 1) as listener:
        replayed = await listener.durable(2)

    assert (gap.event, gap.data, gap.id) == ("resync", {"reason": "gap"}, last)
    assert later.id == last + 1
    assert [m.id for m in replayed] == [last, last + 1]


async def test_a_client_that_was_away_for_too_long_resyncs(live: LiveRig) -> None:
    store = live.rig.yard.store
    for _ in range(2):
        job = a_job()  # of an instant that is long ago
        await store.jobs.add(job, its_event(job))
    last = await store.events.last()

    async with live.listen(after=last - 1) as listener:
        await listener.next()
        gap = await listener.next()

    assert (gap.event, gap.data["reason"], gap.id) == ("resync", "gap", last)


async def test_a_client_that_missed_deleted_events_resyncs(live: LiveRig) -> None:
    store = live.rig.yard.store
    for _ in range(3):
        await live.job()
    last = await store.events.last()
    await store.upkeep.forget(live.rig.yard.clock.now() + timedelta(seconds=1))
    await live.job()

    async with live.listen(after=last - 1) as listener:
        await listener.next()
        gap = await listener.next()

    assert (gap.event, gap.data["reason"], gap.id) == ("resync", "gap", last + 1)


async def test_a_client_ahead_of_a_new_event_table_resyncs(live: LiveRig) -> None:
    last = await live.rig.yard.store.events.last()

    async with live.listen(after=last + 100) as listener:
        await listener.next()
        restart = await listener.until("resync")
        await live.job()
        created = await listener.until("job.created")

    assert (restart.data["reason"], restart.id) == ("restart", last)
    assert created.id == last + 1


async def test_only_events_of_requested_topics_are_sent(live: LiveRig) -> None:
    async with live.listen(topics="tokens,workers") as listener:
        await listener.until("workers")
        await live.job()
        await live.rig.post("tokens", {"name": "ci"})
        await listener.until("token.created")
    assert {m.event for m in listener.messages} == {"hello", "workers", "token.created"}


async def test_events_outside_the_scopes_of_a_token_are_not_sent(live: LiveRig) -> None:
    limited = frozenset({Permit.JOBS_READ})
    live.rig.secrets["reader"] = await live.rig.token(LOCAL.id, limited)

    async with live.listen(by="reader", topics="jobs,workers") as listener:
        refused = problem(listener.answer)
    async with live.listen(by="reader") as listener:
        await listener.until("hello")
        await live.rig.post("tokens", {"name": "ci"})
        await live.job()
        await listener.until("job.created")

    assert refused == (403, "forbidden")
    assert "token.created" not in {m.event for m in listener.messages}


@pytest.mark.parametrize("path", ["events/stream?job={}", "jobs/{}/events/stream"])
async def test_one_job_can_be_followed_alone(live: LiveRig, path: str) -> None:
    mine, other = await live.job(), await live.job()

    async with live.listen(path.format(mine)) as listener:
        await listener.until("jobs.progress")
        for job_id in (other, mine):
            await live.rig.post(f"jobs/{job_id}/pause")
        paused = await listener.until("job.state")

    assert paused.subject == mine
    assert "counts" not in {m.event for m in listener.messages}


async def test_what_cannot_be_listened_to_is_refused(live: LiveRig) -> None:
    job_id = await live.job()
    for query in ["topics=job", "topics=,", "after=-1", "after=x", "topics=workers&job={}"]:
        async with live.listen(f"events/stream?{query.format(job_id)}") as listener:
            assert problem(listener.answer) == (422, "validation_failed"), query
            [fault] = listener.answer.json()["errors"]

        wrong = query.rpartition("&")[2].partition("=")[0]
        assert (fault["parameter"], fault["pointer"]) == (wrong, None), query


async def test_one_token_has_so_many_streams_and_gets_their_places_back(
    live: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_STREAMS_EACH", 2)
    await live.rig.user("ada")

    async with live.listen() as first:
        await first.next()
        async with live.listen() as two:
            await two.next()
            async with live.listen() as three, live.listen(by="ada") as hers:
                assert problem(three.answer) == (429, "limit_exceeded")
                assert three.answer.json()["quota"] == "streams"
                await hers.next()
        await until_open(live, 1)
        async with live.listen() as two:
            assert (await two.next()).event == "hello"


async def test_a_server_has_so_many_streams(live: LiveRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_STREAMS", 1)
    async with live.listen() as first:
        await first.next()
        async with live.listen() as two:
            assert problem(two.answer) == (503, "unavailable")
            assert two.answer.headers["retry-after"]


@pytest.mark.slow
async def test_a_slow_client_resyncs_and_uses_little_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_live_rig(open_in_memory(), send_buffer=4096) as live:
        reader, writer = await slow_reader(live)
        await until_open(live, 1)
        [stream] = live.rig.site.live.streams
        while not stream.fresh:  # all is told at first
            await live.job()
        most = 0
        for _ in range(3 * MAX_QUEUED):
            await live.job()
            most = max(most, stream.waiting)
        last = await live.rig.yard.store.events.last()
        text = b""
        async with asyncio.timeout(120):
            while f"id: {last}\n".encode() not in text:
                text += await reader.read(65536)
        writer.close()

    resync = text.rpartition(b"event: resync")
    number = int(resync[0].rpartition(b"id: ")[2])
    after = [int(line[4:]) for line in resync[2].split(b"\n") if line.startswith(b"id: ")]
    assert most <= MAX_QUEUED
    assert b"slow_consumer" in resync[2][:80]
    assert after == list(range(number + 1, last + 1))


async def slow_reader(
    live: LiveRig, path: str = "events/stream?topics=jobs"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a stream, and let the system take little of it before it is read."""
    url = urlsplit(str(live.client.base_url))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (url.hostname, url.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    secret = live.rig.secrets[LOCAL.id]
    writer.write(
        f"GET /api/v1/{path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Authorization: Bearer {secret}\r\n\r\n".encode()
    )
    return reader, writer


async def until_open(live: LiveRig, count: int) -> None:
    """Return once so many streams are open."""
    async with asyncio.timeout(120):
        while len(live.rig.site.live.streams) != count:
            await live.rig.get("auth/me")


async def test_a_server_that_ends_closes_its_streams_first() -> None:
    async with a_live_rig(open_in_memory()) as live:
        async with live.listen() as listener:
            await listener.until("hello")
            live.rig.site.live.close()
            messages = await listener.ended()
        ready = await live.rig.get("/readyz", by=None)
        async with live.listen() as late:
            assert problem(late.answer) == (503, "unavailable")

    assert "bye" not in {m.event for m in messages}
    assert problem(ready) == (503, "unavailable")
