"""Webhooks that a worker delivers beside its jobs and before it deletes them."""

import asyncio
import json

from tests.acceptance.shell import FAST, Run, Shell, until, wait_for_exit
from tests.receiver import Receiver
from tests.services import hooks


async def run(shell: Shell, *words: str) -> Run:
    """Run ``crawlyard …`` to its end while the receiver answers."""
    return await asyncio.to_thread(shell.run, *words)


async def add_webhook(shell: Shell, receiver: Receiver, *events: str) -> None:
    words = [word for event in events for word in ("--event", event)]
    address = ("--allow-address", receiver.authority)
    created = await run(shell, "webhooks", "create", receiver.url, *address, *words)
    assert created.returncode == 0, created.stderr


def message_types(receiver: Receiver) -> list[str]:
    """Return the types of all messages in order of arrival."""
    types = [
        message.body.partition(b'"type":"')[2].partition(b'"')[0] for message in receiver.messages
    ]
    return [name.decode() for name in types]


async def test_a_job_without_retention_sends_webhooks_on_completion_and_deletion(
    shell: Shell, site: str
) -> None:
    async with Receiver() as own, Receiver() as yards:
        await add_webhook(shell, yards, "job.completed", "job.deleted")
        webhook = json.dumps({"url": own.url, "metadata": {"ticket": 7}})
        options = ("--max-pages", "1", "--retention", "0s", "--webhook", webhook)
        await run(shell, "crawl", site, *FAST, *options, "-d", "-q")

        drained = await run(shell, "work", "--drain")

    assert drained.returncode == 0, drained.stderr
    assert message_types(own) == ["job.completed"]
    assert json.loads(own.messages[0].body)["data"]["metadata"] == {"ticket": 7}
    assert message_types(yards) == ["job.completed", "job.deleted"]
    assert "swept: 0 jobs warned, 0 cancelled, 1 deleted" in drained.stderr


async def test_without_webhooks_nothing_is_delivered_and_nothing_is_lost(
    shell: Shell, site: str
) -> None:
    async with Receiver() as receiver:
        await add_webhook(shell, receiver, "job.completed")
        await run(shell, "crawl", site, *FAST, "--max-pages", "1", "-d", "-q")

        without = await run(shell, "work", "--drain", "--no-webhooks")
        before = message_types(receiver)
        await run(shell, "work", "--drain")

    assert (without.returncode, before) == (0, [])
    assert message_types(receiver) == ["job.completed"]


async def test_a_worker_delivers_while_it_runs(shell: Shell, site: str) -> None:
    async with Receiver() as receiver:
        await add_webhook(shell, receiver, "job.completed")
        with shell.started("work") as worker:
            await asyncio.to_thread(until, worker, "runs up to")
            await run(shell, "crawl", site, *FAST, "--max-pages", "1", "-d", "-q")
            await hooks.until(lambda: message_types(receiver) == ["job.completed"])
            worker.terminate()
            code, _, _ = await asyncio.to_thread(wait_for_exit, worker)

    assert code == 0
