"""Fields in the data of each event, and the JSON Schema of webhook messages."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from crawlyard.core.events.event import EventName

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ANY: Schema = {}
_VALUES: Schema = {"type": "object", "additionalProperties": _ANY}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_PAGES: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["kind", "url"],
        "properties": {"kind": _TEXT, "url": _TEXT, "moved_to": _TEXT},
    },
}


class EventData(Struct, frozen=True):
    """Fields of an event's data, with their schemas."""

    always: Mapping[str, Schema]
    sometimes: Mapping[str, Schema] = {}

    def schema(self) -> Schema:
        """Return the JSON Schema of the data; later versions may add fields."""
        return {
            "type": "object",
            "required": sorted(self.always),
            "properties": {**self.always, **self.sometimes},
        }


_JOB = {"state": _TEXT, "reason": _TEXT, "detail": _TEXT, "version": _COUNT, "name": _TEXT}
_NAMED = {"name": _TEXT, "version": _COUNT}
_TEMPLATE = {**_NAMED, "public": _FLAG}
_WEBHOOK = {"host": _TEXT, "events": _TEXTS, "active": _FLAG, "reason": _TEXT, "version": _COUNT}
_BY_KIND: Mapping[str, Mapping[str, Schema]] = {
    "job": _JOB,
    "run": _JOB,
    "page": _JOB,
    "group": {"jobs": _COUNT, "states": _COUNTS, "pages": _COUNT, "errors": _COUNT},
    "template": _TEMPLATE,
    "schedule": _NAMED,
    "webhook": _WEBHOOK,
    "session": {**_NAMED, "kind": _TEXT},
    "user": {"role": _TEXT, "disabled": _FLAG, "version": _COUNT},
    "token": {"name": _TEXT, "prefix": _TEXT},
    "worker": {"host": _TEXT, "pid": _COUNT},
    "host": {
        "state": _TEXT,
        "delay_s": {"type": ["number", "null"]},
        "at_once": {"type": ["integer", "null"]},
        "note": _TEXT,
        "version": _COUNT,
    },
    "settings": {"section": _TEXT, "version": _COUNT},
}

_OF_ORIGIN = {"schedule_id": _TEXT, "group_id": _TEXT, "notify": _TEXTS}
_SOMETIMES: Mapping[str, Mapping[str, Schema]] = {
    "job": _OF_ORIGIN,
    "run": _OF_ORIGIN,
    "page": _OF_ORIGIN,
    "webhook": {"job_id": _TEXT},
}

_MORE: Mapping[EventName, EventData] = {
    EventName.CREATED: EventData({}, {"cut": _VALUES, "granted": _TEXTS, "session": _TEXT}),
    EventName.PROGRESSED: EventData({"percent": _COUNT, "done": _COUNT, "discovered": _COUNT}),
    EventName.DELETED: EventData({}, {"private": _FLAG}),
    EventName.LIMIT_REACHED: EventData({"limit": _TEXT}),
    EventName.REQUEUED: EventData({}, {"attempt": _COUNT, "due_at": _TIME}),
    EventName.EXPIRING: EventData({"expires_at": _TIME}),
    EventName.EDITED: EventData({"changed": _VALUES}, {"cut": _VALUES, "private": _FLAG}),
    EventName.NOTED: EventData({"note": _TEXT}, {}),
    EventName.RUN_CHANGED: EventData({"base_id": _TEXT, "counts": _COUNTS}),
    EventName.PAGE_CHANGED: EventData({"base_id": _TEXT, "pages": _PAGES, "more": _COUNT}),
    EventName.USER_SIGNED_IN: EventData({"by": _TEXT, "prefix": _TEXT}),
    EventName.USER_REFUSED: EventData({"kind": _TEXT, "reason": _TEXT, "prefix": _TEXT}),
    EventName.SCHEDULE_UPDATED: EventData({"changed": _TEXTS}),
    EventName.SCHEDULE_PAUSED: EventData({"reason": _TEXT}),
    EventName.SCHEDULE_TICKED: EventData(
        {
            "due_at": _TIME,
            "outcome": _TEXT,
            "reason": _TEXT,
            "detail": _TEXT,
            "job_id": _TEXT_OR_NULL,
        }
    ),
}


_WITHOUT_STATE = frozenset({EventName.USER_SIGNED_IN, EventName.USER_REFUSED})


def data_of(name: EventName) -> EventData:
    """Return the schemas of the data of events with this *name*."""
    more = _MORE.get(name, EventData({}))
    return EventData(
        {**({} if name in _WITHOUT_STATE else _BY_KIND[name.kind]), **more.always},
        {**_SOMETIMES.get(name.kind, {}), **more.sometimes},
    )
