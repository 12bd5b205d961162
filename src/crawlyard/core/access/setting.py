"""Sections of settings that an admin changes while the program runs."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field


class Section(Struct, frozen=True, kw_only=True):
    """One section of the settings, as stored."""

    name: str
    value: Mapping[str, object] = field(default_factory=dict)  # JSON
    version: int = 0  # 0: never written
    updated_at: datetime | None = None
    actor: str = ""


class Setting(Struct, frozen=True, kw_only=True):
    """A section as written, and its effective values, with fallbacks for what it leaves out."""

    section: Section
    effective: Mapping[str, object]
