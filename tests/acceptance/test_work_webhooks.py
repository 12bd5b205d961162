"""What a worker delivers beside its jobs, and before it deletes them."""

import asyncio

from tests.acceptance.shell import FAST, Run, Shell, rest, until
from tests.receiver import Receiver
from tests.services import hooks


async def ran(shell: Shell, *words: str) -> Run:
    """Run ``crawlyard …`` to its end, while the receiver answers."""
    return await asyncio.to_thread(shell.run, *words)


async def hooked(shell: Shell, receiver: Receiver, *events: str) -> None:
    words = [word for event in events for word in ("--event", event)]
    address = ("--allow-address", receiver.authority)
    made = await ran(shell, "webhooks", "create", receiver.url, *address, *words)
    assert made.returncode == 0, made.stderr


def heard(receiver: Receiver) -> list[str]:
    """Return the types of all messages, in the order in which they came."""
    types = [
        message.body.partition(b'"type":"')[2].partition(b'"')[0] for message in receiver.messages
    ]
    return [name.decode() for name in types]


async def test_a_job_that_is_not_kept_is_told_of_before_it_is_deleted_and_after(
    shell: Shell, site: str
) -> None:
    async with Receiver() as own, Receiver() as yards:
        await hooked(shell, yards, "job.completed", "job.deleted")
        asked = ("--max-pages", "1", "--retention", "0s", "--webhook", own.url)
        await ran(shell, "crawl", site, *FAST, *asked, "-d", "-q")

        drained = await ran(shell, "work", "--drain")

    assert drained.returncode == 0, drained.stderr
    assert heard(own) == ["job.completed"]
    assert heard(yards) == ["job.completed", "job.deleted"]
    assert "swept: 0 jobs warned, 0 cancelled, 1 deleted" in drained.stderr


async def test_without_webhooks_nothing_is_delivered_and_nothing_is_lost(
    shell: Shell, site: str
) -> None:
    async with Receiver() as receiver:
        await hooked(shell, receiver, "job.completed")
        await ran(shell, "crawl", site, *FAST, "--max-pages", "1", "-d", "-q")

        without = await ran(shell, "work", "--drain", "--no-webhooks")
        before = heard(receiver)
        await ran(shell, "work", "--drain")

    assert (without.returncode, before) == (0, [])
    assert heard(receiver) == ["job.completed"]


async def test_a_worker_delivers_while_it_runs(shell: Shell, site: str) -> None:
    async with Receiver() as receiver:
        await hooked(shell, receiver, "job.completed")
        with shell.started("work") as worker:
            await asyncio.to_thread(until, worker, "runs up to")
            await ran(shell, "crawl", site, *FAST, "--max-pages", "1", "-d", "-q")
            await hooks.until(lambda: heard(receiver) == ["job.completed"])
            worker.terminate()
            code, _, _ = await asyncio.to_thread(rest, worker)

    assert code == 0
