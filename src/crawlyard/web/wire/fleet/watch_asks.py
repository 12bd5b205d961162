"""What is asked about watch."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from crawlyard.core.hosts.rule import (
    LONGEST_DELAY_S,
    MAX_NOTE,
    MOST_AT_ONCE,
)
from crawlyard.web.wire.base import Ask, example


class HostPatch(Ask):
    """What is to be said of a host from now on; null takes it away."""

    model_config = example(delay_s=2, at_once=1, note="Their admin asked us to")

    delay_s: Annotated[float | None, Field(ge=0, le=LONGEST_DELAY_S, allow_inf_nan=False)] = None
    at_once: Annotated[int | None, Field(ge=1, le=MOST_AT_ONCE)] = None
    note: Annotated[str | None, Field(max_length=MAX_NOTE)] = None

    @property
    def changes(self) -> Mapping[str, Any]:
        """Return what was said, by the fields of a rule."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class HostNoteAsk(Ask):
    """Why a host is to be asked no more; without it, the note of its rule stays."""

    model_config = example(note="Down for maintenance until Friday")

    note: Annotated[str | None, Field(max_length=MAX_NOTE)] = None
