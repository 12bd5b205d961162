"""Template publication: values that schedules keep when a template loses its credentials."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.render import fill
from crawlyard.core.templates.template import CrawlTemplate, KeptTemplate
from crawlyard.errors import Invalid


class Takeover(Struct, frozen=True):
    """A schedule before and after it took over values that its template lost."""

    before: CrawlSchedule
    after: CrawlSchedule

    @property
    def kept_template(self) -> KeptTemplate:
        """Fields that the schedule took over, without their values."""
        return KeptTemplate(
            schedule_id=self.after.id,
            name=self.after.name,
            fields=tuple(
                f"{part}.{name}"
                for part in ("params", "overrides")
                for name in _changed_names(getattr(self.before, part), getattr(self.after, part))
            ),
        )


def takeover(
    schedule: CrawlSchedule, before: CrawlTemplate, after: CrawlTemplate
) -> Takeover | None:
    """Return *schedule* with what it needs to crawl with *after* as it did with *before*.

    Defaults that *after* no longer has become params of the schedule. Any other spec field that
    *after* fills differently becomes an override, because no parameter stands for it. ``None`` if
    nothing changes, or if the schedule is already invalid.
    """
    parameters = {parameter.name: parameter for parameter in after.parameters}
    params = {name: value for name, value in schedule.params.items() if name in parameters}
    for parameter in before.parameters:
        name, default = parameter.name, parameter.default
        if name in parameters and name not in params and default != parameters[name].default:
            params[name] = default
    try:
        old, new = fill(before, schedule.params), fill(after, params)
    except Invalid:
        return None
    lost = {
        name: value
        for name, value in old.items()
        if name not in schedule.overrides and new.get(name) != value
    }
    overrides = {**schedule.overrides, **lost}
    if (params, overrides) == (schedule.params, schedule.overrides):
        return None
    # the values taken over come from the author of the template
    trusted = schedule.trusted and before.trusted
    return Takeover(
        schedule, replace(schedule, params=params, overrides=overrides, trusted=trusted)
    )


def _changed_names(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]
