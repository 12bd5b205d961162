"""What a Content-Type says."""


def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, if it names one."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None
