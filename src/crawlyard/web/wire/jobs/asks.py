"""The shapes of what is asked of jobs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.web.wire.base import Ask, example
from crawlyard.web.wire.templates.template_asks import MAX_VERSION

MAX_REASON = 500


class WhyAsk(Ask):
    """A reason, which the job then shows."""

    model_config = example(reason="the site is being moved")

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class RetryAsk(Ask):
    """Which of a job is to be tried again."""

    model_config = example(scope="failed", kinds=["timeout", "http_5xx"])

    scope: Annotated[
        Literal["all", "failed", "now"],
        Field(
            description="`all`: a new job with the same spec; `failed`: the same job, its failed "
            "URLs; `now`: end the wait of a pending one."
        ),
    ] = "all"
    kinds: Annotated[
        tuple[ErrorKind, ...], Field(max_length=50, description="Of `failed`: only these.")
    ] = ()


def form_schema() -> dict[str, Any]:
    """Return the JSON Schema of the form of a spec, as its reader takes it."""
    properties: dict[str, Any] = {}
    for path, field in FIELDS.items():
        group, _, name = path.rpartition(".")
        place = properties
        if group:
            inner = properties.setdefault(
                group, {"type": "object", "additionalProperties": False, "properties": {}}
            )
            place = inner["properties"]
        place[name] = {"description": field.accepts}
        if field.also:
            place[field.also.rpartition(".")[2]] = {"description": field.accepts}
    return {"type": "object", "additionalProperties": False, "properties": properties}


_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}


def job_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a request for a job: the form, and where the rest comes from."""
    form = form_schema()
    own = {
        "template": _TEXT | {"description": "A template's id, name, or OWNER/NAME."},
        "template_version": {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
        "params": {"type": "object", "description": "Values of the template's parameters."},
        "start_at": {"type": "string", "format": "date-time"},
    }
    return form | {
        "properties": own | form["properties"],
        "examples": [{"urls": ["https://docs.example.org/"], "limits": {"pages": 500}}],
    }
