"""Workers that are started and stopped by the metrics of a server, as Kubernetes would.

Their commands, thresholds and probes are those of `deploy/kubernetes`.
"""

import asyncio
import math
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from crawlyard import LOCAL, JobSpec, State, Yard
from crawlyard.services.jobs.lookup import find_job
from tests.acceptance.shell import MINUTE, Shell, environment
from tests.docs_metrics import families
from tests.engine.rig import a_spec, opened
from tests.jobs import submit
from tests.kustomize import FOLDER, Manifest, build, key_of, pod_template
from tests.many_hosts import ManyHosts, address
from tests.site import SHARED_JITTER_S, Serve, hurried, refetched, site_server

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

__all__ = ["site_server"]

SLOTS = 2
MOST = 3
POLL_S = 0.5
STABLE_S = 3.0
"""How long fewer workers must have been enough; 300 s in the manifests."""

JOBS, SPREAD_HOSTS, PAGES, DELAY_S = 6, 4, 10, 0.25
LEASE_S = "6"


def pod_of(folder: str, kind: str, name: str) -> Manifest:
    """Return the only container and the grace period of the pods that an object creates."""
    [manifest] = (m for m in build(FOLDER / folder) if key_of(m) == {"kind": kind, "name": name})
    template = pod_template(manifest)
    assert template is not None
    [container] = template["spec"]["containers"]
    return {**container, "grace_s": template["spec"]["terminationGracePeriodSeconds"]}


@dataclass
class Cluster:
    """Processes in place of pods, with a folder of their own each."""

    folder: Path
    database_url: str
    worker: Manifest
    pods: list[asyncio.subprocess.Process] = field(default_factory=list)
    stopping: list[asyncio.Task[None]] = field(default_factory=list)
    every: list[asyncio.subprocess.Process] = field(default_factory=list)
    peak: int = 0
    codes: list[int] = field(default_factory=list)

    async def start(
        self, container: Manifest, stderr: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        """Start the process of a container, on a free port."""
        folder = self.folder / f"pod-{len(self.every)}"
        folder.mkdir()
        words = [re.sub(r"(?<=-port=)\d+", "0", word) for word in container["args"]]
        if words[0] == "serve":
            words += ["--port", "0"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawlyard", *words),
            env=environment(
                CRAWLYARD_DATABASE_URL=self.database_url,
                CRAWLYARD_DATA_DIR=str(folder),
                CRAWLYARD_JOBS=str(SLOTS),
                CRAWLYARD_LEASE_S=LEASE_S,
            ),
            cwd=folder,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
        self.every.append(process)
        return process

    async def scale(self, replicas: int) -> None:
        """Start workers, or stop those that were started last."""
        while len(self.pods) < replicas:
            self.pods.append(await self.start(self.worker))
        while len(self.pods) > replicas:
            self.stop(self.pods.pop())
        self.peak = max(self.peak, len(self.pods))

    def stop(self, pod: asyncio.subprocess.Process) -> None:
        pod.send_signal(signal.SIGTERM)
        self.stopping.append(asyncio.create_task(self._ended(pod)))

    async def _ended(self, pod: asyncio.subprocess.Process) -> None:
        self.codes.append(await asyncio.wait_for(pod.wait(), self.worker["grace_s"]))

    async def roll(self) -> None:
        """Replace each worker by a new one, as a new version does."""
        for pod in tuple(self.pods):
            self.pods.remove(pod)
            self.stop(pod)
            self.pods.append(await self.start(self.worker))

    def reap(self) -> None:
        """Forget the workers that ended by themselves."""
        for pod in tuple(self.pods):
            if pod.returncode is not None:
                self.pods.remove(pod)
                self.codes.append(pod.returncode)

    async def close(self) -> None:
        for task in self.stopping:
            await task


@dataclass
class Prometheus:
    """Reads the metrics of the server."""

    client: httpx.AsyncClient

    async def slots(self) -> tuple[int, int]:
        """Return `crawlyard_slots_used` and `crawlyard_slots_wanted`."""
        answer = await self.client.get("/metrics", headers={"Host": "crawlyard.crawlyard.svc:8700"})
        assert answer.status_code == 200, answer.text
        metrics = families(answer.text)
        in_use, awaited = (metrics[f"crawlyard_slots_{name}"] for name in ("used", "wanted"))
        return int(in_use.samples[0].value), int(awaited.samples[0].value)


@pytest.fixture
async def cluster(
    request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """Processes that are killed in the end."""
    cluster = Cluster(tmp_path, postgres_url, pod_of(*request.param))
    yield cluster
    for pod in cluster.every:
        if pod.returncode is None:
            pod.kill()
            await pod.wait()
    await cluster.close()


@asynccontextmanager
async def served(cluster: Cluster) -> AsyncIterator[Prometheus]:
    """Run a server beside the block, healthy by its probes."""
    shell = Shell(cluster.folder, {"CRAWLYARD_DATABASE_URL": cluster.database_url})
    token = await asyncio.to_thread(shell.run, "tokens", "create", "prometheus", "--scope", "admin")
    container = pod_of("base", "Deployment", "crawlyard-server")
    process = await cluster.start(container, stderr=asyncio.subprocess.PIPE)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(MINUTE):
            while not (match := re.search(rb"serving \S+:(\d+)/", await process.stderr.readline())):
                assert process.returncode is None
        bearer = {"Authorization": f"Bearer {token.stdout.strip()}"}
        url = f"http://127.0.0.1:{int(match[1])}"
        drain = asyncio.create_task(process.stderr.read())
        async with httpx.AsyncClient(base_url=url, headers=bearer, timeout=MINUTE) as client:
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                request = container[name]["httpGet"]
                headers = {header["name"]: header["value"] for header in request["httpHeaders"]}
                answer = await client.get(request["path"], headers=headers)
                assert answer.status_code == 200, answer.text
            yield Prometheus(client)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), container["grace_s"]) == 0
        await drain
    finally:
        if process.returncode is None:
            process.kill()


def polite(*hosts: int, port: int, **options: Any) -> JobSpec:
    urls = (f"http://{address(host)}:{port}/0" for host in hosts)
    return a_spec(*urls, delay_s=DELAY_S, per_host=1, **options)


def specs(port: int) -> Iterator[JobSpec]:
    """Yield jobs of a host each, and a spread one of several hosts."""
    for host in range(JOBS):
        yield polite(host + SPREAD_HOSTS, port=port)
    yield polite(*range(SPREAD_HOSTS), port=port, spread=2)


async def have_ended(yard: Yard, job_ids: list[str]) -> bool:
    states = [(await find_job(yard.store, LOCAL, job_id)).job.state for job_id in job_ids]
    assert set(states) <= {State.PENDING, State.RUNNING, State.COMPLETED}
    return set(states) == {State.COMPLETED}


def needed(slots: int) -> int:
    return min(MOST, math.ceil(slots / SLOTS))


@pytest.mark.parametrize(
    "cluster", [("keda", "Deployment", "crawlyard-worker")], ids=[""], indirect=True
)
async def test_workers_come_and_go_with_the_work_and_lose_nothing(
    cluster: Cluster, site_server: Serve
) -> None:
    site = ManyHosts(SPREAD_HOSTS + JOBS, PAGES)
    server = await site_server(site, host="0.0.0.0")
    recent: deque[tuple[float, int]] = deque()
    rolled = False
    async with (
        opened(cluster.folder, database_url=cluster.database_url) as yard,
        served(cluster) as prometheus,
        asyncio.timeout(3 * MINUTE),
    ):
        assert await prometheus.slots() == (0, 0)
        job_ids = [(await submit(yard, spec)).id for spec in specs(server.port)]
        assert await prometheus.slots() == (0, len(job_ids))
        replicas = -1
        while replicas or not await have_ended(yard, job_ids):
            slots = sum(await prometheus.slots())
            recent.append((monotonic(), needed(slots)))
            while recent[0][0] < monotonic() - STABLE_S:
                recent.popleft()
            replicas = max(count for _, count in recent)
            await cluster.scale(replicas)
            if not rolled and len(server.hits) > len(job_ids) * PAGES / 2:
                rolled = True
                await cluster.roll()
            await asyncio.sleep(POLL_S)
        await cluster.close()
        assert await prometheus.slots() == (0, 0)

    assert cluster.peak == MOST
    assert len(cluster.codes) == len(cluster.every) - 1, "all but the server"
    # one that has just been started ends by the signal, as any program
    assert set(cluster.codes) <= {0, -signal.SIGTERM}
    assert 0 in cluster.codes
    assert_crawled_once(site, server.hits)


@pytest.mark.parametrize(
    "cluster", [("keda-jobs", "ScaledJob", "crawlyard-worker")], ids=[""], indirect=True
)
async def test_a_worker_for_each_few_waiting_jobs_ends_when_none_is_left(
    cluster: Cluster, site_server: Serve
) -> None:
    site = ManyHosts(JOBS, PAGES)
    server = await site_server(site, host="0.0.0.0")
    async with (
        opened(cluster.folder, database_url=cluster.database_url) as yard,
        served(cluster) as prometheus,
        asyncio.timeout(2 * MINUTE),
    ):
        each = [polite(host, port=server.port) for host in range(JOBS)]
        job_ids = [(await submit(yard, spec)).id for spec in each]
        _, awaited = await prometheus.slots()
        await cluster.scale(needed(awaited))
        while cluster.pods:
            await asyncio.sleep(POLL_S)
            cluster.reap()
        assert await have_ended(yard, job_ids)
        assert await prometheus.slots() == (0, 0)

    assert cluster.codes == [0] * MOST
    assert_crawled_once(site, server.hits)


def assert_crawled_once(site: ManyHosts, hits: list[Any]) -> None:
    """Assert that each page was requested once, at the pace of its host."""
    requested = {(hit.host.partition(":")[0], hit.path) for hit in hits}
    pages = {
        (address(host), f"/{page}") for host in range(site.hosts) for page in range(site.pages)
    }
    assert pages == {(host, path) for host, path in requested if path != "/robots.txt"}
    assert refetched(hits) == {}
    assert hurried(hits, DELAY_S, SHARED_JITTER_S) == {}
