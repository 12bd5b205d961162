"""Visibility of jobs and schedules to other users: the setting, and the options of a crawl."""

from enum import StrEnum, auto
from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about


class Visibility(StrEnum):
    """Owners of the jobs that a user sees: a field of the settings `sharing`."""

    OWNER = auto()  # their own
    EVERYONE = auto()  # those of all users that are not private


class Sharing(StrEnum):
    """Rights of other users to a job, if the settings let them see it."""

    PRIVATE = auto()
    READ = auto()
    WRITE = auto()


SharedWith: TypeAlias = Annotated[
    Sharing,
    about(
        "what other users may do, if the settings show jobs to everyone: nothing (private), read, "
        "or also change and control it (write)",
        label="Other users",
        words={"private": "See nothing", "read": "See it", "write": "See and control it"},
        help="What other users may do where everyone sees jobs: private, read or write; default "
        "{default}.",
        panel=Panel.JOB,
        editable=True,
    ),
]
SharesPages: TypeAlias = Annotated[
    bool,
    about(
        "let other users read pages fetched with a session or other credentials, and stored HTML, "
        "headers and screenshots",
        label="Show all stored pages to other users",
        help="Let other users read pages fetched with credentials, stored HTML and screenshots.",
        panel=Panel.JOB,
        editable=True,
    ),
]
