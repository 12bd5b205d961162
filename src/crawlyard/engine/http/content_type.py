"""Content-Type parsing."""


def charset_of(content_type: str) -> str | None:
    """Return the charset of a Content-Type, ``None`` if it names none."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None
