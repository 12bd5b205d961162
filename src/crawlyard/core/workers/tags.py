"""Worker tags: requirements that a job has of its worker."""

import re
from collections.abc import Sequence

from crawlyard.errors import Invalid

MAX_WORKER_TAGS = 20

_WORKER_TAG = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def check_worker_tags(name: str, tags: Sequence[str]) -> None:
    """Check the tags that a worker has or a job requires; *name* is the field for errors.

    Raises:
        Invalid: there are too many, or one is not a valid tag.
    """
    if len(tags) > MAX_WORKER_TAGS:
        raise Invalid(name, f"expected at most {MAX_WORKER_TAGS}, got {len(tags)}")
    for tag in tags:
        if not _WORKER_TAG.fullmatch(tag):
            raise Invalid(name, f"expected 1 to 64 letters, digits or . _ : - each, got {tag!r}")
