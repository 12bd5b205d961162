"""A folder that may be read and not written, also by tests that run as root."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def readable_folder() -> Iterator[Path]:
    """Yield a folder that everybody may look into, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="crawlyard-rights-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Make *folder* read-only for the block, as an unprivileged user if we are root."""
    root, mode = os.geteuid() == 0, folder.stat().st_mode
    folder.chmod(0o555)
    if root:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(mode)
