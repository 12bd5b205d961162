"""Idempotency keys: a repeated call gets the reply of the first call with its key."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from crawlyard.core.endpoints.idempotency import DEAD_AFTER, REPLIES_LAST, StoredReply
from crawlyard.store.access.idempotency import ReplyStore

T = TypeVar("T")


async def run_once(
    replies: ReplyStore,
    call: StoredReply,
    run: Callable[[], Awaitable[T]],
    reply_of: Callable[[T], StoredReply | None],
) -> T | StoredReply:
    """Run a call and store its reply, or return the stored reply of the first call with its key.

    The stored reply may be one of another request, or incomplete: the first call is in progress.
    The key is free again if *run* raises, or if *reply_of* returns ``None`` for a dry run.
    """
    now = call.created_at
    stored = await replies.begin(call, now - REPLIES_LAST, now - DEAD_AFTER)
    if stored is not None:
        return stored
    reply = None
    try:
        result = await run()
        reply = reply_of(result)
    finally:
        if reply is None:
            await replies.drop(call.asker, call.key)
    if reply is not None:
        await replies.settle(reply)
    return result
