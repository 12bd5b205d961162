"""Site that serves a folder of static files."""

import mimetypes
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from crawlyard.demo.site import Answer

# Not the system's own type files, so that types are the same everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())


class FolderSite:
    """Serves the files below *root*; a folder is served as its index.html, never listed.

    Symbolic links that lead out of *root* are not followed. HTML is sent without a charset,
    because the files declare their own; nothing is compressed.

    Raises:
        NotADirectoryError: *root* is not a folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        if not self._root.is_dir():
            raise NotADirectoryError(f"expected a folder, got {root}")

    def answer(self, method: str, path: str, host: str) -> Answer:
        """Return the file at *path*, a redirect to a folder's own URL, or 404."""
        del method, host
        path, mark, query = path.partition("?")
        file = self._find(path)
        try:
            if file is None:
                return _missing()
            if not file.is_dir():
                return _missing() if path.endswith("/") else _file(file)
            if not path.endswith("/"):
                # The real name, not the path of the request: //host/x would lead to another host.
                inside = quote(file.relative_to(self._root).as_posix())
                return Answer(301, (("Location", f"/{inside}/{mark}{query}"),))
            index = self._inside(file / "index.html")
            return _missing() if index is None else _file(index)
        except OSError:  # just deleted, not readable, or with too long a name
            return _missing()

    def _find(self, path: str) -> Path | None:
        """Return the file or folder at *path*; ``None`` if there is none below the root."""
        try:
            name = unquote_to_bytes(path.lstrip("/")).decode()
        except UnicodeDecodeError:
            return None
        if "\0" in name or "\\" in name:
            return None
        return self._inside(self._root / name)

    def _inside(self, file: Path) -> Path | None:
        try:
            real = file.resolve(strict=True)
        except (OSError, RuntimeError):  # missing, or a loop of links
            return None
        return real if real.is_relative_to(self._root) else None


def _file(file: Path) -> Answer:
    body = file.read_bytes()
    status = file.stat()
    headers = (
        ("Content-Type", _content_type(file)),
        ("ETag", f'"{status.st_mtime_ns:x}-{status.st_size:x}"'),
        ("Last-Modified", formatdate(status.st_mtime, usegmt=True)),
    )
    return Answer(200, headers, body)


def _content_type(file: Path) -> str:
    kind, coding = _TYPES.guess_type(file.name)
    if coding is not None:  # compressed files are sent as they are, without Content-Encoding
        return "application/gzip" if coding == "gzip" else "application/octet-stream"
    return kind or "application/octet-stream"


def _missing() -> Answer:
    return Answer(404, (("Content-Type", "text/plain; charset=utf-8"),), b"Not found\n")
