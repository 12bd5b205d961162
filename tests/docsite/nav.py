"""Navigation of the site: the pages that zensical.toml names, and those that match its patterns."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any


def expanded(nav: Any, pages: list[str]) -> Any:
    """Return *nav* with each pattern replaced by the pages that it alone matches."""
    named = {entry for entry in _entries(nav) if "*" not in entry}
    return _expanded(nav, [path for path in pages if path not in named])


def _expanded(nav: Any, unnamed: list[str]) -> Any:
    if isinstance(nav, Mapping):
        return {title: _expanded(_as_section(entry), unnamed) for title, entry in nav.items()}
    if isinstance(nav, list):
        lists = [_expanded(entry, unnamed) for entry in nav]
        flat = [each for entry in lists for each in (entry if isinstance(entry, list) else [entry])]
        return [each for each in flat if not isinstance(each, Mapping) or any(each.values())]
    if "*" in nav:
        depth = nav.count("/")
        return [path for path in unnamed if fnmatch(path, nav) and path.count("/") == depth]
    return nav


def _as_section(entry: Any) -> Any:
    return [entry] if isinstance(entry, str) and "*" in entry else entry


def _entries(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, Mapping) else nav if isinstance(nav, list) else ():
        yield from _entries(entry)


def toml(value: Any) -> str:
    """Return a value as inline TOML."""
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{json.dumps(name)} = {toml(each)}' for name, each in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
