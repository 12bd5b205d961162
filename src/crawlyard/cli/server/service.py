"""`crawlyard service …`: systemd units of the server and the workers."""

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from crawlyard.cli.options import flag, flat, group, option
from crawlyard.cli.stdout import write
from crawlyard.cli.values import count
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# help needs neither
with lazily():
    import shutil

    from crawlyard.cli.server import processes, unit_files

app = group(
    """Install systemd units that run the server and workers.

    crawlyard service install
    crawlyard service uninstall
    """
)

_RUNNING = Path("/run/systemd/system")  # exists if systemd is the init system: sd_booted(3)
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
"""Directories that the system units cannot see (ProtectHome=, PrivateTmp=)."""
_PLAIN_PATH = re.compile(r"/[\w./@+-]+")
_LINK = "shows the link to sign in"

ForUser = Annotated[bool, flag("--user", text="For the user's own service manager, without root.")]
Workers = Annotated[
    int, option(count, "--workers", "N", "Number of workers to enable afterwards; default 1.")
]
Render = Annotated[bool, flag("--render", text="Allow browsers, with less hardening.")]
Program = Annotated[
    Path | None,
    option(Path, "--command", "PATH", "The crawlyard command to run; default: this one."),
]
Root = Annotated[
    Path | None,
    option(Path, "--root", "DIR", "Write below DIR, which has the files of another system."),
]
DryRun = Annotated[bool, flag("--dry-run", text="Print the files; write nothing.")]
Replace = Annotated[bool, flag("--force", text="Replace files that were changed.")]
Remove = Annotated[bool, flag("--force", text="Remove units that were changed, too.")]


@app.command()
@flat()
def install(
    *,
    user: ForUser = False,
    workers: Workers = 1,
    render: Render = False,
    command: Program = None,
    root: Root = None,
    dry_run: DryRun = False,
    force: Replace = False,
) -> None:
    """Write the units and their settings file, and say what to run next.

    crawlyard service install --dry-run
    crawlyard service install --workers 2
    crawlyard service install --user

    Services of the system run as the user crawlyard, and keep their data in
    /var/lib/crawlyard. The settings are in /etc/crawlyard/crawlyard.env. They survive another
    install, which updates the units.
    """
    if not 1 <= workers <= processes.MOST_PROCESSES:
        raise Invalid("--workers", f"expected 1 to {processes.MOST_PROCESSES}, got {workers}")
    manager = _manager(user=user, root=root)
    here = root is None and not dry_run
    if here:
        _check_systemd()
        _check_root(user=user, action="install")
    program = _program(command, check=here and not user)
    files = unit_files.files_of(manager, program, render=render)
    if dry_run:
        write("\n".join(f"# {file.place}\n{file.text}" for file in files).encode())
        return
    for state, file in unit_files.install(files, force=force):
        _tell(f"{state:9} {file.place}: {file.purpose}")
    _tell_next(_start_commands(manager, workers))


@app.command()
@flat()
def uninstall(*, user: ForUser = False, root: Root = None, force: Remove = False) -> None:
    """Remove the units; data, and settings that were changed, stay.

    crawlyard service uninstall
    crawlyard service uninstall --user
    """
    manager = _manager(user=user, root=root)
    if root is None:
        _check_root(user=user, action="uninstall")
    if units := manager.enabled():
        disable = f"{manager.systemctl} disable --now {' '.join(units)}"
        raise Invalid("service uninstall", f"the services are enabled; first run: {disable}")
    files = unit_files.files_of(manager, Path("/usr/bin/crawlyard"), render=True)
    results = [*unit_files.uninstall(files, force=force)]
    for state, file in results:
        _tell(f"{state:9} {file.place}: {file.purpose}")
    if not results:
        _tell("no units are installed")
        return
    _tell(f"the data stays in {manager.state}{'' if user else ', and the user crawlyard exists'}")
    _tell_next([(f"{manager.systemctl} daemon-reload", "forgets the units")])


def _manager(*, user: bool, root: Path | None) -> "unit_files.Manager":
    if user and root is not None:
        raise Invalid("--root", "expected either --user or --root")
    if user:
        return unit_files.Manager.of_user()
    return unit_files.Manager.of_system(root.absolute() if root else Path("/"))


def _program(command: Path | None, *, check: bool) -> Path:
    """Return the path of the crawlyard command for the units.

    Raises:
        Invalid: there is none, or the user crawlyard could not run it.
    """
    if command is None:
        beside = Path(sys.executable).with_name("crawlyard")
        name = str(beside) if beside.exists() else shutil.which("crawlyard")
        if name is None:
            raise Invalid("--command", "expected the path of the crawlyard command")
        command = Path(name).absolute()
        used = [command, Path(sys.executable), Path(__file__)]
    else:
        used = [command]
    if not _PLAIN_PATH.fullmatch(str(command)):
        raise Invalid("--command", f"expected an absolute path without blanks, got {command}")
    if check:
        for path in used:
            _check_visible(path)
    return command


def _check_visible(path: Path) -> None:
    """Check that the user crawlyard can read *path* in a system unit.

    Raises:
        Invalid: it is missing, unreadable, or below a directory that the units hide.
    """
    real = path.resolve()
    hidden = any(each.is_relative_to(folder) for each in (path, real) for folder in _HIDDEN)
    folders = (*path.parents, *real.parents)
    readable = (
        real.exists()
        and real.stat().st_mode & stat.S_IROTH
        and all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
    )
    if hidden or not readable:
        raise Invalid(
            "service install",
            f"the user crawlyard cannot read {path}{f' ({real})' if real != path else ''}; install "
            "crawlyard for all users, for example in /opt/crawlyard, or use --user",
        )


def _check_systemd() -> None:
    if not _RUNNING.is_dir():
        raise Invalid(
            "service install",
            "systemd does not run here; use the service manager of this machine to start "
            "`crawlyard serve` and `crawlyard work`, or --root to write units for another machine",
        )


def _check_root(*, user: bool, action: str) -> None:
    if not user and os.geteuid() != 0:
        raise Invalid(f"service {action}", "run it as root, or for yourself with --user")


def _start_commands(manager: "unit_files.Manager", workers: int) -> Sequence[tuple[str, str]]:
    """Return the commands that start the services, each with its effect."""
    units = ["crawlyard-server", *(f"crawlyard-worker@{n + 1}" for n in range(workers))]
    start = [
        (f"{manager.systemctl} daemon-reload", "reads the units"),
        (f"{manager.systemctl} enable --now {' '.join(units)}", "starts them, now and at boot"),
    ]
    if manager.is_user:
        linger = ("loginctl enable-linger", "keeps them running while you are logged out")
        return [*start, linger, ("journalctl --user -u crawlyard-server", _LINK)]
    users = ("systemd-sysusers", "creates the user crawlyard")
    return [users, *start, ("journalctl -u crawlyard-server", _LINK)]


def _tell_next(commands: Sequence[tuple[str, str]]) -> None:
    """Write commands to run next, each with its effect."""
    width = max(len(line) for line, _ in commands)
    _tell("next:")
    for line, effect in commands:
        _tell(f"  {line:{width}}  # {effect}")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
