"""Systemd units: installation, removal, and what systemd says about them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from crawlyard.cli.failures import exit_code_of
from crawlyard.cli.server import deadline, service, unit_files
from crawlyard.config import settings_fields
from crawlyard.errors import Conflict, Invalid
from tests.confined import read_service
from tests.program import PROGRAM

COMMAND = "/usr/bin/true"  # verified units need a command that exists
UNITS = Path("etc/systemd/system")
SETTINGS = Path("etc/crawlyard/crawlyard.env")
SERVER, WORKER = UNITS / unit_files.SERVER, UNITS / unit_files.WORKER
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "systemd.md"


def run(*words: str) -> str:
    """Run ``crawlyard service …`` and return what it writes."""
    result = CliRunner().invoke(PROGRAM, ["service", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def install(root: Path, *words: str) -> str:
    return run("install", "--root", str(root), "--command", COMMAND, *words)


def uninstall(root: Path, *words: str) -> str:
    return run("uninstall", "--root", str(root), *words)


def files_below(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def systemd_analyze(*words: str | Path) -> str:
    """Return what systemd-analyze says if it finds nothing wrong."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    ran = subprocess.run([tool, "--no-pager", *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_install_says_what_it_wrote_and_what_to_run_next(tmp_path: Path) -> None:
    written = install(tmp_path, "--workers", "2")

    files = {SERVER, WORKER, SETTINGS, Path("etc/sysusers.d/crawlyard.conf")}
    assert files_below(tmp_path) == files
    assert all(f"written   {tmp_path / file}: " in written for file in files)
    assert (
        "systemctl enable --now crawlyard-server crawlyard-worker@1 crawlyard-worker@2" in written
    )
    assert (tmp_path / SETTINGS).stat().st_mode & 0o777 == 0o600  # it may contain passwords
    assert (tmp_path / WORKER).stat().st_mode & 0o777 == 0o644
    assert f"ExecStart={COMMAND} work" in (tmp_path / WORKER).read_text()


def test_another_install_updates_units_and_keeps_settings(tmp_path: Path) -> None:
    install(tmp_path, "--render")
    (tmp_path / SETTINGS).write_text("CRAWLYARD_JOBS=9\n")
    old = (tmp_path / WORKER).read_text()

    moved = run("install", "--root", str(tmp_path), "--command", "/opt/crawlyard/bin/crawlyard")

    assert f"written   {tmp_path / WORKER}" in moved
    assert f"unchanged {tmp_path / UNITS}/crawlyard-worker@.service.d/rendering.conf" in moved
    assert f"kept      {tmp_path / SETTINGS}" in moved
    assert (tmp_path / SETTINGS).read_text() == "CRAWLYARD_JOBS=9\n"
    assert (tmp_path / WORKER).read_text() != old


@pytest.mark.parametrize("text", ["[Service]\nExecStart=/bin/other\n", "", "edited"])
def test_a_changed_unit_is_neither_replaced_nor_removed_unless_forced(
    tmp_path: Path, text: str
) -> None:
    install(tmp_path)
    text = text if text != "edited" else (tmp_path / WORKER).read_text() + "LimitNOFILE=1\n"
    (tmp_path / WORKER).write_text(text)
    (tmp_path / SERVER).unlink()

    with pytest.raises(Conflict, match=r"crawlyard-worker@\.service \(--force replaces\)"):
        install(tmp_path)
    assert not (tmp_path / SERVER).exists()  # nothing was written
    assert f"kept      {tmp_path / WORKER}" in uninstall(tmp_path)
    assert (tmp_path / WORKER).read_text() == text

    assert f"written   {tmp_path / WORKER}" in install(tmp_path, "--force")


def test_uninstall_removes_what_install_wrote_except_changed_settings(tmp_path: Path) -> None:
    install(tmp_path, "--render")
    uninstall(tmp_path)
    assert files_below(tmp_path) == set()
    assert not (tmp_path / SETTINGS).parent.exists()
    assert "no units are installed" in uninstall(tmp_path)

    install(tmp_path)
    (tmp_path / SETTINGS).write_text("CRAWLYARD_JOBS=9\n")
    uninstall(tmp_path, "--force")
    assert files_below(tmp_path) == {SETTINGS}


def test_uninstall_refuses_while_services_are_enabled(tmp_path: Path) -> None:
    install(tmp_path)
    wants = tmp_path / UNITS / "multi-user.target.wants"
    wants.mkdir()
    (wants / "crawlyard-worker@1.service").symlink_to("../crawlyard-worker@.service")

    with pytest.raises(Invalid, match="systemctl disable --now crawlyard-worker@1"):
        uninstall(tmp_path)


def test_units_of_a_user_need_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    text = run("install", "--user", "--dry-run", "--command", COMMAND)

    assert files_below(tmp_path) == set()
    places = re.findall(rf"^# {tmp_path}/(\S+)$", text, re.MULTILINE)
    names = (unit_files.SERVER, unit_files.WORKER)
    units = [f"config/systemd/user/{name}" for name in names]
    assert places == [*units, "config/crawlyard/crawlyard.env"]
    assert f"CRAWLYARD_DATA_DIR={tmp_path}/state/crawlyard" in text
    assert "WantedBy=default.target" in text
    # what needs root, or another user, in a user's service manager
    privileged = r"User|CapabilityBoundingSet|Private\w+|Protect\w+|StateDirectory|Wants"
    assert re.findall(rf"^(?:{privileged})=.*$", text, re.MULTILINE) == []
    assert "NoNewPrivileges=yes" in text


def test_units_run_no_program_that_their_user_cannot_read(tmp_path: Path) -> None:
    command = tmp_path / "crawlyard"
    with pytest.raises(Invalid, match="cannot read"):
        service._check_visible(command)  # missing
    command.touch(0o755)
    with pytest.raises(Invalid, match=r"in /opt/crawlyard, or use --user"):
        service._check_visible(command)  # hidden, or below a folder of ours
    service._check_visible(Path("/usr/bin/env"))


def test_install_says_so_where_systemd_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_RUNNING", tmp_path / "missing")

    for words in ([], ["--user"]):
        with pytest.raises(Invalid, match="systemd does not run here") as refused:
            run("install", *words)
        assert exit_code_of(refused.value) == 2


def test_invalid_options_are_refused(tmp_path: Path) -> None:
    for words in (
        ["--workers", "0"],
        ["--user", "--root", str(tmp_path)],
        ["--command", "bin/crawlyard", "--dry-run"],
        ["--command", "/opt/my yard/crawlyard", "--dry-run"],
    ):
        with pytest.raises(Invalid):
            run("install", *words)


def test_server_and_worker_have_the_same_hardening(tmp_path: Path) -> None:
    install(tmp_path)
    own = {"ExecStart", "OOMPolicy"}

    server, worker = (
        {name: value for name, value in read_service(tmp_path / unit).items() if name not in own}
        for unit in (SERVER, WORKER)
    )

    assert server == worker


def test_systemd_waits_longer_than_the_longest_stop(tmp_path: Path) -> None:
    install(tmp_path)
    longest_s = settings_fields()["shutdown_s"].about.most or 0

    for unit in (SERVER, WORKER):
        [timeout] = read_service(tmp_path / unit)["TimeoutStopSec"]
        assert int(timeout.removesuffix("s")) > longest_s + deadline.GRACE_S + deadline.PARENT_S


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for words in ((), ("--render",)):
        install(tmp_path, *words)
        output = systemd_analyze("verify", tmp_path / SERVER, tmp_path / WORKER)
        assert "crawlyard" not in output


def test_systemd_accepts_the_units_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    manager = unit_files.Manager.of_user()
    files = unit_files.files_of(manager, Path(COMMAND), render=True)
    assert len([*unit_files.install(files)]) == 5

    units = [manager.units / name for name in (unit_files.SERVER, unit_files.WORKER)]
    assert "crawlyard" not in systemd_analyze("--user", "verify", *units)


def test_the_exposure_is_what_the_documentation_says(tmp_path: Path) -> None:
    listed = dict(re.findall(r"^\| (server, worker|with `--render`) \| ([\d.]+) \|$", *page()))

    for words, row in (((), "server, worker"), (("--render",), "with `--render`")):
        install(tmp_path, *words)
        for unit in (SERVER, WORKER):
            output = systemd_analyze("security", "--offline=true", tmp_path / unit)
            [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", output)
            assert exposure == listed[row]
            assert float(exposure) <= 2.5


def page() -> tuple[str, re.RegexFlag]:
    return PAGE.read_text("utf-8"), re.MULTILINE


@pytest.mark.skipif(sys.platform != "linux", reason="systemctl runs on Linux")
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    """On the files of another system, since these tests do not run as root of one with systemd."""
    text, flags = page()
    for name in ("systemctl", "systemd-sysusers"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name}: apt install systemd")
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, flags | re.DOTALL)
        for line in block.splitlines()
    ]
    advice = ""
    skipped = []

    for line in lines:
        command = line.removeprefix("sudo ")
        _, program, rest = command.rpartition("/opt/crawlyard/bin/crawlyard ")
        if program and rest.startswith("service "):
            where = ["--root", str(tmp_path)]
            where += ["--command", COMMAND] if "uninstall" not in rest else []
            advice += run(*rest.split()[1:], *where)
        elif command.startswith(("systemctl enable", "systemctl disable", "systemd-sysusers")):
            assert command in advice or "disable" in command
            program, *words = command.replace(" --now", "").split()
            subprocess.run([program, f"--root={tmp_path}", *words], check=True, capture_output=True)
        elif command == "systemctl daemon-reload":
            assert command in advice
        else:
            skipped.append(line)

    assert files_below(tmp_path / UNITS) == set()
    assert len(skipped) == 5, skipped  # installation, tokens, login and a restart
