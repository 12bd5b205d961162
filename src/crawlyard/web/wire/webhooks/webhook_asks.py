"""The shapes of what is asked of webhooks."""

from typing import Annotated, Any

from pydantic import Field

from crawlyard.core.webhooks.webhook import EVERYTHING, MAX_DESCRIPTION, MAX_PATTERNS
from crawlyard.errors import Invalid
from crawlyard.web.wire.base import Ask, example

_LONGEST_URL = 2_000
_LONGEST_PATTERN = 64
_LONGEST_ADDRESS = 300
_MOST_ADDRESSES = 50

_URL = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_LONGEST_URL,
        description="https, unless its address is opened.",
        examples=["https://hooks.example.org/crawls"],
    ),
]
_Events = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_PATTERN)], ...],
    Field(
        min_length=1,
        max_length=MAX_PATTERNS,
        description="Names, or patterns such as `job.*`.",
        examples=[["job.completed", "job.failed"]],
    ),
]
_Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
_Addresses = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_ADDRESS)], ...],
    Field(
        max_length=_MOST_ADDRESSES,
        description="Opened beside public ones, where the yard grants it.",
    ),
]


class WebhookAsk(Ask):
    """A webhook to be made: it hears of what is yours."""

    model_config = example(
        url="https://hooks.example.org/crawls", events=["job.completed", "job.failed"]
    )

    url: _URL
    events: _Events = (EVERYTHING,)
    description: _Description = ""
    allow_addresses: _Addresses = ()


class WebhookPatch(Ask):
    """What is to be changed of a webhook: absent stays, null is the default."""

    model_config = example(description="to the team's chat")

    url: _URL | None = None
    events: _Events | None = None
    description: _Description | None = None
    allow_addresses: _Addresses | None = None

    def changes(self) -> dict[str, Any]:
        """Return what is asked to be otherwise.

        Raises:
            Invalid: the URL is taken away.
        """
        if "url" in self.model_fields_set and self.url is None:
            raise Invalid("url", "expected a value: a webhook always has one")
        default: dict[str, object] = {
            "events": (EVERYTHING,),
            "description": "",
            "allow_addresses": (),
        }
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {n: default[n] if value is None else value for n, value in given.items()}
