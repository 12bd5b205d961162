"""`crawlyard work --metrics-port`: metrics and health of a worker."""

import re
import socket
from contextlib import closing

import httpx
import pytest

from tests.acceptance.shell import MINUTE, Process, Shell, until, wait_for_exit


def metrics_url(process: Process) -> str:
    """Return the base URL that a worker prints for its metrics."""
    match = re.search(r"(http\S+)/metrics", until(process, "metrics: "))
    assert match is not None
    return match[1]


def test_a_worker_serves_metrics_and_health_until_it_ends(shell: Shell, site: str) -> None:
    token = shell.run("tokens", "create", "prometheus", "--scope", "admin").stdout.strip()
    shell.run("crawl", site, "--allow-private", "--delay", "0", "--max-pages", "3", "-d")
    with shell.started("work", "--metrics-port", "0") as process:
        url = metrics_url(process)
        assert url.startswith("http://127.0.0.1:"), "metrics listen on loopback by default"
        shell.run("jobs", "wait", "last", "--timeout", "30s")

        health = httpx.get(f"{url}/healthz", timeout=MINUTE)
        refused = httpx.get(f"{url}/metrics", timeout=MINUTE)
        by = {"Authorization": f"Bearer {token}"}
        metrics = httpx.get(f"{url}/metrics", headers=by, timeout=MINUTE)

        process.terminate()
        code, _, err = wait_for_exit(process)

    assert (health.status_code, refused.status_code) == (200, 401)
    assert "crawlyard_claim_seconds_count 1.0\n" in metrics.text
    assert re.search(r'crawlyard_responses_total\{class="2xx"\} [34]\.0', metrics.text)
    assert code == 0, err
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", timeout=MINUTE)


def test_a_port_in_use_is_named_and_no_job_runs(shell: Shell) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        ran = shell.run("work", "--drain", "--metrics-port", str(port))

    assert ran.returncode == 6
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ran.stderr


def test_an_address_without_a_port_is_refused(shell: Shell) -> None:
    ran = shell.run("work", "--drain", "--metrics-host", "0.0.0.0")

    assert ran.returncode == 2
    assert "--metrics-port" in ran.stderr


@pytest.mark.slow
def test_processes_serve_metrics_on_consecutive_ports(shell: Shell) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        first = free.getsockname()[1]
    options = ("--processes", "2", "--metrics-port", str(first))
    with shell.started("work", *options) as process:
        urls = {metrics_url(process), metrics_url(process)}
        process.terminate()
        code, _, err = wait_for_exit(process)

    assert urls == {f"http://127.0.0.1:{first + n}" for n in range(2)}
    assert code == 0, err
