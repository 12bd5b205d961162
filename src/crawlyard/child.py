"""Child processes of isolated jobs: `python -m crawlyard.child` is the fork server of a worker."""

import asyncio
import gc
import os
import signal
import socket
import sys
import traceback
from copy import deepcopy
from typing import NoReturn, cast

from crawlyard import worker_factory
from crawlyard.about import VERSION
from crawlyard.clock import SystemClock
from crawlyard.core.workers.measures import Measures
from crawlyard.errors import StoreUnavailable
from crawlyard.messaging.bus import Bus
from crawlyard.services.workers.channel import (
    CallResult,
    Channel,
    ChildStart,
    Drain,
    Hold,
    Obey,
    Report,
    StoreCaller,
)
from crawlyard.services.workers.fork_server import (
    EXIT_OTHER_VERSION,
    EXIT_UNAVAILABLE,
    serve_forks,
    usage_of,
)
from crawlyard.services.workers.isolation import child_asker
from crawlyard.services.workers.run import JobRun, WorkerContext
from crawlyard.yard import child_factory

_REPORT_EVERY_S = 1.0


async def _run(connection: socket.socket) -> None:
    channel = await Channel.over(connection)
    start = await channel.receive()
    if not isinstance(start, ChildStart):
        return  # the parent has died, or no longer needs a child
    caller, clock, measures = StoreCaller(channel), SystemClock(), Measures()
    if start.course is not None:
        clock.follow(start.course)
    bus = cast("Bus", caller.part("bus", Bus))
    factory = child_factory(start.settings, caller.store(), clock, bus, measures)
    context = factory.worker_context()
    context.permit.good = start.may_send
    context.tools.rate_limiter.set_process_name(child_asker(start.claim.lease, os.getpid()))
    run = JobRun(start.claim, context, alone=True)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, run.drain, start.settings.shutdown_s)
    background = (
        asyncio.create_task(_follow(channel, caller, run, context, clock)),
        asyncio.create_task(_report_often(channel, context)),
    )
    try:
        await run.run()
        await factory.close()
    finally:
        _report(channel, context)
        for task in background:
            task.cancel()
    await channel.close()


async def _follow(
    channel: Channel, caller: StoreCaller, run: JobRun, context: WorkerContext, clock: SystemClock
) -> None:
    """Apply the messages of the parent, and exit when it dies."""
    while (message := await channel.receive()) is not None:
        match message:
            case CallResult():
                caller.receive(message)
            case Obey():
                if message.course is not None:
                    clock.follow(message.course)
                context.permit.round_trip.oldest = message.oldest
                run.apply_order(message.order, message.asked_at)
            case Hold():
                context.permit.good = not message.held
                if message.held:
                    context.tools.rate_limiter.expire_slots()
                run.hold(message.held)
            case Drain():
                run.drain(message.within_s)
    os._exit(1)


async def _report_often(channel: Channel, context: WorkerContext) -> None:
    while True:
        _report(channel, context)
        await asyncio.sleep(_REPORT_EVERY_S)


def _report(channel: Channel, context: WorkerContext) -> None:
    """Send the parent the state of hosts, and the measures since the last report."""
    measured = deepcopy(context.measures)
    context.measures.merge(measured, -1)
    hosts = tuple(context.tools.rate_limiter.reports())
    channel.send(Report(hosts=hosts, measures=measured, usage=usage_of(os.getpid())))


def _exit_after(connection: socket.socket) -> NoReturn:
    """Run the job received over *connection*, and exit."""
    code = 1
    try:
        asyncio.run(_run(connection))
        code = 0
    except StoreUnavailable:
        code = EXIT_UNAVAILABLE
    except BaseException:  # noqa: BLE001 - a fork must not return into the fork server
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """Fork a child for each request of the parent, which passes a socket and its version."""
    if sys.argv[2:] != [VERSION]:
        sys.exit(EXIT_OTHER_VERSION)
    # the parent handles Ctrl-C, and a stop of the service
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    vars(worker_factory)  # load it, if it is loaded lazily
    gc.collect()
    gc.freeze()  # otherwise garbage collection in a child would copy all memory pages
    _exit_after(serve_forks(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
