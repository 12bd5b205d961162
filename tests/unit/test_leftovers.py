import asyncio
import gc

from tests.leftovers import Dropped


async def _waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_task_dropped_while_waiting_is_reported(dropped: Dropped) -> None:
    asyncio.get_running_loop().create_task(_waits_for_ever(), name="forgotten")
    await asyncio.sleep(0)
    gc.collect()
    [message] = dropped.pop_all()
    assert "forgotten" in message


async def test_a_task_that_was_ended_is_not(dropped: Dropped) -> None:
    task = asyncio.get_running_loop().create_task(_waits_for_ever())
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del task
    gc.collect()

    assert dropped.pop_all() == []
