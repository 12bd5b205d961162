"""Notification channels that a job names."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about
from crawlyard.errors import Invalid

CHANNEL_NAME = r"[A-Za-z0-9._-]{1,64}"

ChannelNames: TypeAlias = Annotated[
    tuple[str, ...],
    about(
        "notification channels that get the events of the job; none: all except `named_only` ones",
        label="Notify",
        help="Send notifications to this channel alone. Repeatable.",
        panel=Panel.JOB,
        metavar="NAME",
        of="texts",
        editable=True,
        longest=20,
    ),
]


def check_channel_names(names: Sequence[str]) -> None:
    """Check that channels can have these names.

    Raises:
        Invalid: one is none.
    """
    for name in names:
        if not re.fullmatch(CHANNEL_NAME, name):
            raise Invalid("notify", f"expected the name of a notification channel, got {name!r}")
