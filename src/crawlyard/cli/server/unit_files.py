"""Files of the systemd services: their text, their places, installation and removal."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum, auto
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from crawlyard.errors import Conflict

SERVER = "crawlyard-server.service"
WORKER = "crawlyard-worker@.service"

_TEMPLATES = Path(__file__).with_name("units")
_RENDERING = "rendering.conf"
_SYSTEM_ONLY = re.compile(r"^# System units only.*\n(?:.+\n)+\n", re.MULTILINE)
_HEADER = "# Written by `crawlyard service install`; change it with {edit}. Checksum: "


class Manager(Struct, frozen=True, kw_only=True):
    """Service manager: that of the system or of a user, with the directories that it uses."""

    units: Path
    settings: Path
    state: Path
    users: Path | None = None  # of systemd-sysusers; None: services run as the user
    root: Path = Path("/")  # directory that contains the system

    @classmethod
    def of_system(cls, root: Path = Path("/")) -> "Manager":
        """Return the service manager of the system below *root*."""
        return cls(
            units=Path("/etc/systemd/system"),
            settings=Path("/etc/crawlyard/crawlyard.env"),
            state=Path("/var/lib/crawlyard"),
            users=Path("/etc/sysusers.d/crawlyard.conf"),
            root=root,
        )

    @classmethod
    def of_user(cls) -> "Manager":
        """Return the service manager of the user of this process."""
        config, state = (
            Path(os.environ.get(variable) or Path.home() / default)
            for variable, default in (
                ("XDG_CONFIG_HOME", ".config"),
                ("XDG_STATE_HOME", ".local/state"),
            )
        )
        return cls(
            units=config / "systemd" / "user",
            settings=config / "crawlyard" / "crawlyard.env",
            state=state / "crawlyard",
        )

    @property
    def is_user(self) -> bool:
        """True if the services run as the user."""
        return self.users is None

    @property
    def systemctl(self) -> str:
        """The command that controls this service manager."""
        return "systemctl --user" if self.is_user else "systemctl"

    def enabled(self) -> Sequence[str]:
        """Return the names of our units that are enabled."""
        units = self.root / self.units.relative_to("/")
        return sorted({path.stem for path in units.glob("*.wants/crawlyard-*.service")})


class FileState(StrEnum):
    """Result of an installation or removal for one file."""

    WRITTEN = auto()
    UNCHANGED = auto()
    REMOVED = auto()
    KEPT = auto()  # it was edited


class UnitFile(Struct, frozen=True, kw_only=True):
    """A file of the services."""

    path: Path
    text: str
    purpose: str
    root: Path = Path("/")
    editable: bool = False  # settings, which are not overwritten

    @property
    def place(self) -> Path:
        """The path of the file below the root directory."""
        return self.root / self.path.relative_to("/")

    def current(self) -> str | None:
        """Return the current text, ``None`` if there is no file."""
        try:
            return self.place.read_text("utf-8", "replace")
        except FileNotFoundError:
            return None

    def was_edited(self) -> bool:
        """Return whether the file exists and is not as this or another version wrote it."""
        text = self.current()
        if text in (None, self.text):
            return False
        if self.editable:
            return True
        header, _, rest = (text or "").partition("\n")
        return header.rpartition(" ")[2] != _checksum(rest)

    def write(self) -> FileState:
        """Write the file, unless it has its text or contains settings."""
        text = self.current()
        if text == self.text:
            return FileState.UNCHANGED
        if text is not None and self.editable:
            return FileState.KEPT
        self.place.parent.mkdir(parents=True, exist_ok=True)
        new = self.place.with_name(f"{self.place.name}.new")
        new.unlink(missing_ok=True)
        # the settings may contain passwords
        handle = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if self.editable else 0o644
        )
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self.text)
        new.replace(self.place)
        return FileState.WRITTEN


def files_of(manager: Manager, command: Path, *, render: bool) -> Sequence[UnitFile]:
    """Return the files for *manager* whose units run *command*.

    With *render*, or if they are installed already, those that allow browsers are included.
    """

    def unit(name: str, purpose: str) -> UnitFile:
        text = _template(name).replace("ExecStart=crawlyard ", f"ExecStart={command} ")
        if manager.is_user:
            text = _SYSTEM_ONLY.sub("", text).replace("multi-user.target", "default.target")
        return UnitFile(
            path=manager.units / name,
            text=_with_header(text, f"`{manager.systemctl} edit {name.removesuffix('.service')}`"),
            purpose=purpose,
            root=manager.root,
        )

    files = [
        unit(SERVER, "API, dashboard, and delivery of webhooks"),
        unit(WORKER, "a worker for each name after the @"),
    ]
    drop_ins = [
        UnitFile(
            path=manager.units / f"{name}.d" / _RENDERING,
            text=_with_header(_template(_RENDERING), "another drop-in"),
            purpose=f"browsers of {name}",
            root=manager.root,
        )
        for name in (SERVER, WORKER)
    ]
    files += [file for file in drop_ins if render or file.current() is not None]
    files.append(
        UnitFile(
            path=manager.settings,
            text=_template("crawlyard.env").replace("@STATE@", str(manager.state)),
            purpose="settings",
            root=manager.root,
            editable=True,
        )
    )
    if manager.users is not None:
        files.append(
            UnitFile(
                path=manager.users,
                text=_with_header(_template("sysusers.conf"), "another file"),
                purpose="the user that the services run as",
                root=manager.root,
            )
        )
    return files


def install(
    files: Iterable[UnitFile], *, force: bool = False
) -> Iterator[tuple[FileState, UnitFile]]:
    """Write *files*, and yield each with its state.

    Raises:
        Conflict: some were edited, and it is not *force*d; nothing is written.
    """
    edited = [str(file.place) for file in files if not file.editable and file.was_edited()]
    if edited and not force:
        raise Conflict(
            f"not written by crawlyard, or changed since: {', '.join(edited)} (--force replaces)"
        )
    for file in files:
        yield file.write(), file


def uninstall(
    files: Iterable[UnitFile], *, force: bool = False
) -> Iterator[tuple[FileState, UnitFile]]:
    """Remove *files* that exist, and yield each with its state; edited ones are kept.

    With *force*, only settings are kept if they were edited.
    """
    for file in files:
        if file.current() is None:
            continue
        if file.was_edited() and (file.editable or not force):
            yield FileState.KEPT, file
            continue
        file.place.unlink()
        if file.path.parent.name in {"crawlyard", f"{SERVER}.d", f"{WORKER}.d"}:
            _remove_if_empty(file.place.parent)
        yield FileState.REMOVED, file


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _with_header(text: str, edit: str) -> str:
    return f"{_HEADER.format(edit=edit)}{_checksum(text)}\n{text}"


def _checksum(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
