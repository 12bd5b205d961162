"""Systemd services: the commands of the installed units, with the hardening that needs no systemd.

They run as an unprivileged user in a user namespace, whose files are those of this process.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.shell import FAST, MINUTE, Process, Shell, draining_stderr, environment, until
from tests.confined import read_service

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("crawlyard")
AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


class Services:
    """Installed units, and the system that they are for: a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.state = folder / "var" / "lib" / "crawlyard"
        self.state.mkdir(parents=True)
        words = ("service", "install", "--root", str(folder), "--command", str(COMMAND))
        installed = Shell(folder).run(*words, *options)
        assert installed.returncode == 0, installed.stderr
        self._settings = folder / "etc" / "crawlyard" / "crawlyard.env"
        text = self._settings.read_text().replace("/var/lib/crawlyard", str(self.state))
        self._settings.write_text(text.replace("--port 8700", "--port 0"))

    @property
    def settings(self) -> dict[str, str]:
        """The variables of the environment file."""
        lines = [line for line in self._settings.read_text().splitlines() if "=" in line]
        pairs = [line.partition("=") for line in lines if not line.startswith("#")]
        return {name: "".join(shlex.split(value)) for name, _, value in pairs}

    def shell(self) -> Shell:
        """Return a shell for commands that need the database, as `systemd-run` starts them."""
        return Shell(self.folder, {"CRAWLYARD_DATA_DIR": self.settings["CRAWLYARD_DATA_DIR"]})

    @contextmanager
    def started(self, name: str) -> Iterator[Process]:
        """Run the command of a unit beside the block; then stop it."""
        unit = self.folder / "etc" / "systemd" / "system" / name
        drop_ins = sorted(unit.with_name(f"{name}.d").glob("*.conf"))
        service = read_service(unit, *drop_ins)
        variables = dict(line.split("=", 1) for line in service["Environment"]) | self.settings
        [command] = service["ExecStart"]
        words = [
            part
            for word in command.split()
            for part in (variables[word[1:]].split() if word.startswith("$") else [word])
        ]
        confined = (sys.executable, "-m", "tests.confined", json.dumps(service), *words)
        with Process(
            (*AS_NOBODY, *confined),
            cwd=self.state,
            env=environment(HOME=str(self.state), PYTHONPATH=str(ROOT), **variables),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
                process.terminate()
                assert process.wait(timeout=MINUTE) == 0
            finally:
                process.kill()


@pytest.fixture(scope="module", autouse=True)
def needs() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    if subprocess.run((*AS_NOBODY, "true"), capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces: sysctl kernel.unprivileged_userns_clone=1")


def status_of(pid: int | str) -> Mapping[str, str]:
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def test_a_server_and_a_worker_crawl_as_their_units_start_them(tmp_path: Path, site: str) -> None:
    services = Services(tmp_path)
    with (
        services.started("crawlyard-server.service") as server,
        services.started("crawlyard-worker@.service") as worker,
    ):
        url = until(server, "serving ").split()[1].removesuffix("/api/v1")
        until(worker, "runs up to 4 jobs")
        with draining_stderr(server), draining_stderr(worker):
            local = services.shell()
            token = local.run("tokens", "create", "admin").stdout.strip()
            shell = Shell(tmp_path)
            assert shell.run("login", url, stdin=token).returncode == 0
            assert shell.run("settings", "grants", "--private").returncode == 0

            crawled = shell.run("crawl", site, *FAST, "--max-pages", "10")
            refused = shell.run("crawl", site, *FAST, "--render", "always")
            for process in (server, worker):
                status = status_of(process.pid)
                assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
                assert int(status["CapEff"], 16) == 0
            server.terminate()
            worker.terminate()

    assert crawled.returncode == 0, crawled.stderr
    assert "10 pages" in crawled.stderr
    assert refused.returncode == 10
    assert "this worker renders no pages (CRAWLYARD_BROWSERS=0)" in refused.stderr
    files = [path for path in services.state.rglob("*") if path.is_file()]
    assert len(files) >= 1
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def zygotes_of(worker: Process) -> list[tuple[str, Mapping[str, str]]]:
    """Return the command line and status of the processes from which Chromium forks renderers."""
    processes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            processes[folder.name] = (words, status_of(folder.name))
        except OSError:  # it has ended
            continue

    def is_ours(pid: str) -> bool:
        while pid in processes and pid != str(worker.pid):
            pid = processes[pid][1]["PPid"]
        return pid == str(worker.pid)

    return [it for pid, it in processes.items() if "--type=zygote" in it[0] and is_ours(pid)]


def test_a_worker_with_browsers_runs_chromium_in_its_sandbox(tmp_path: Path, site: str) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium: apt install chromium")
    services = Services(tmp_path, "--render")
    shell = services.shell()
    with services.started("crawlyard-worker@.service") as worker:
        until(worker, "runs up to 4 jobs")
        with draining_stderr(worker):
            options = ("--render", "always", "--renderer", "chromium", "--max-pages", "4")
            assert shell.run("crawl", "-d", site, *FAST, *options).returncode == 0
            deadline = time.monotonic() + MINUTE
            while not (zygotes := zygotes_of(worker)) or len(zygotes[-1][1]["NSpid"].split()) < 2:
                assert time.monotonic() < deadline, zygotes
                time.sleep(0.05)
            ended = shell.run("jobs", "wait", "last")
            worker.terminate()

    assert ended.returncode == 0, shell.run("jobs", "show", "last").stdout
    assert shell.json("jobs", "show", "last", "--fields", "state") is not None
    # a process namespace of its own: the sandbox is on
    assert any(len(status["NSpid"].split()) > 1 for _, status in zygotes)
    assert all("--no-sandbox" not in words for words, _ in zygotes)
