"""Server-sent events, line by line.

Source: the HTML standard, section 9.2.6, "Interpreting an event stream".
"""

from msgspec import Struct


class Message(Struct, frozen=True, kw_only=True):
    """One message of a stream: its kind, its number if it has one, and JSON."""

    event: str
    id: str | None
    data: str


class Parser:
    """Makes messages of the lines of a stream."""

    def __init__(self) -> None:
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []

    def line(self, line: bytes) -> Message | None:
        """Take in one line without its end; return the message that it ends."""
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        if not text:
            return self._ended()
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "id":
            self._id = value
        elif field == "data":
            self._data.append(value)
        return None

    def _ended(self) -> Message | None:
        told = Message(event=self._event or "message", id=self._id, data="\n".join(self._data))
        whole = bool(self._data)
        self._event, self._id, self._data = "", None, []
        return told if whole else None
