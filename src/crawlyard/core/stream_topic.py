"""Stream topics: groups of events, and the permits to subscribe to them."""

from collections.abc import Collection, Mapping
from enum import StrEnum, auto
from functools import cache

from crawlyard.core.access.user import Permit
from crawlyard.core.event import EventName


class Topic(StrEnum):
    """A kind of resource; for jobs and workers, also their current state."""

    JOBS = auto()
    TEMPLATES = auto()
    SCHEDULES = auto()
    WEBHOOKS = auto()
    WORKERS = auto()
    HOSTS = auto()
    USERS = auto()
    TOKENS = auto()
    SETTINGS = auto()

    @property
    def names(self) -> frozenset[EventName]:
        """Return its events."""
        return frozenset(name for name in EventName if TOPIC_OF[name.kind] is self)


TOPIC_OF: Mapping[str, Topic] = {
    topic.value if topic is Topic.SETTINGS else topic.value.removesuffix("s"): topic
    for topic in Topic
}
"""Topics by the kind of an event: ``job`` belongs to `Topic.JOBS`."""

_NEEDS: Mapping[Topic, Permit] = {
    Topic.JOBS: Permit.JOBS_READ,
    Topic.TEMPLATES: Permit.TEMPLATES_READ,
    Topic.SCHEDULES: Permit.SCHEDULES_READ,
    Topic.WEBHOOKS: Permit.WEBHOOKS_READ,
    Topic.WORKERS: Permit.WORKERS_READ,
    Topic.HOSTS: Permit.WORKERS_READ,
}


def topics_for(permits: Collection[Permit], *, limited: bool) -> frozenset[Topic]:
    """Return the topics that a user with *permits* may subscribe to.

    Account topics are not available to a token that is *limited* to some permits, unless it has the
    permit for admins.
    """
    account = not limited or Permit.ADMIN in permits
    return frozenset(t for t in Topic if (_NEEDS[t] in permits if t in _NEEDS else account))


@cache
def names_of(topics: frozenset[Topic]) -> frozenset[EventName]:
    """Return the events of all these topics, as one shared set for equal topics."""
    return frozenset(name for topic in topics for name in topic.names)
