"""Subscribers: the webhooks for an event, found without a scan of all webhooks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from crawlyard.core.event import Event
from crawlyard.core.webhooks.webhook import Webhook


class Subscribers:
    """Active webhooks, each with the number of the event after which it receives events."""

    def __init__(self, endpoints: Iterable[tuple[Webhook, int]]) -> None:
        self._of_owner: dict[str, list[tuple[Webhook, int]]] = defaultdict(list)
        self._of_job: dict[str, list[tuple[Webhook, int]]] = defaultdict(list)
        self._by_id: dict[str, tuple[Webhook, int]] = {}
        for webhook, since in endpoints:
            self._by_id[webhook.id] = webhook, since
            if webhook.job_id is None:
                self._of_owner[webhook.owner].append((webhook, since))
            else:
                self._of_job[webhook.job_id].append((webhook, since))

    def of(self, event: Event) -> Iterator[Webhook]:
        """Yield the webhooks that receive *event*."""
        found = {
            webhook.id: (webhook, since)
            for webhook, since in (
                *self._of_owner.get(event.owner, ()),
                *self._of_job.get(event.subject, ()),
                *((self._by_id[event.subject],) if event.subject in self._by_id else ()),
            )
        }
        for webhook, since in found.values():
            if event.seq > since and webhook.wants(event):
                yield webhook
