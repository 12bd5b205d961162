"""`crawlyard work --metrics-port`: what it shows, where, and for how long."""

import re
import socket
from contextlib import closing

import httpx
import pytest

from tests.acceptance.shell import MINUTE, Process, Shell, rest, until


def shown_at(process: Process) -> str:
    """Return where a worker says that it shows its metrics."""
    found = re.search(r"(http\S+)/metrics", until(process, "metrics: "))
    assert found is not None
    return found[1]


def test_a_worker_shows_its_metrics_and_health_until_it_ends(shell: Shell, site: str) -> None:
    token = shell.run("tokens", "create", "prometheus", "--scope", "admin").stdout.strip()
    shell.run("crawl", site, "--allow-private", "--delay", "0", "--max-pages", "3", "-d")
    with shell.started("work", "--metrics-port", "0") as process:
        url = shown_at(process)
        assert url.startswith("http://127.0.0.1:"), "nobody else can ask, unless told otherwise"
        shell.run("jobs", "wait", "last", "--timeout", "30s")

        health = httpx.get(f"{url}/healthz", timeout=MINUTE)
        refused = httpx.get(f"{url}/metrics", timeout=MINUTE)
        by = {"Authorization": f"Bearer {token}"}
        metrics = httpx.get(f"{url}/metrics", headers=by, timeout=MINUTE)

        process.terminate()
        code, _, said = rest(process)

    assert (health.status_code, refused.status_code) == (200, 401)
    assert "crawlyard_claim_seconds_count 1.0\n" in metrics.text
    assert re.search(r'crawlyard_responses_total\{class="2xx"\} [34]\.0', metrics.text)
    assert code == 0, said
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", timeout=MINUTE)


def test_a_port_that_is_taken_is_named_and_no_job_is_run(shell: Shell) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ran = shell.run("work", "--drain", "--metrics-port", str(port))

    assert ran.returncode == 6
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ran.stderr


def test_an_address_without_a_port_is_refused(shell: Shell) -> None:
    ran = shell.run("work", "--drain", "--metrics-host", "0.0.0.0")

    assert ran.returncode == 2
    assert "--metrics-port" in ran.stderr


@pytest.mark.slow
def test_several_processes_show_theirs_on_ports_that_follow_each_other(shell: Shell) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        first = free.getsockname()[1]
    options = ("--processes", "2", "--metrics-port", str(first))
    with shell.started("work", *options) as process:
        found = {shown_at(process), shown_at(process)}
        process.terminate()
        code, _, said = rest(process)

    assert found == {f"http://127.0.0.1:{first + n}" for n in range(2)}
    assert code == 0, said
