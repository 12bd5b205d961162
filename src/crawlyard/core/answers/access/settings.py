"""The shapes of the settings that an admin changes while the yard runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from crawlyard.core.access.setting import Setting
from crawlyard.core.answers.base import Wire


class SectionOut(Wire, frozen=True, kw_only=True):
    """One section: *value* is what was written, *effective* what holds, all fields named."""

    object: Literal["settings"] = "settings"
    section: str
    value: Mapping[str, Any]
    effective: Mapping[str, Any]
    version: int  # 0: never written
    updated_at: datetime | None
    updated_by: str  # a user's id; empty: nobody has

    @classmethod
    def of(cls, setting: Setting) -> "SectionOut":
        """Return the shape of *setting*."""
        section = setting.section
        return cls(
            section=section.name,
            value=section.value,
            effective=setting.effective,
            version=section.version,
            updated_at=section.updated_at,
            updated_by=section.actor,
        )


SECTION_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "grants": {"addresses": True, "private": False, "ignore_robots": False},
    "ceilings": {"pages": 1_000_000, "duration_s": 86_400},
    "retention": {"retention_days": 14, "paused_ttl_days": 3},
    "defaults": {"delay_s": 1, "limits": {"pages": 10_000}},
}
"""A body for each section, for the document."""
