"""The shapes of what the deletion of other things than jobs would delete."""

from collections.abc import Mapping
from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.core.webhooks.webhook import DeliveryState, Webhook


class TemplateDeletionOut(Wire, frozen=True, kw_only=True):
    """What the deletion of a template would delete; jobs that were made of it stay."""

    object: Literal["template_deletion"] = "template_deletion"
    template_id: str
    name: str
    dry_run: bool = True
    versions: int

    @classmethod
    def of(cls, template: CrawlTemplate, versions: int) -> "TemplateDeletionOut":
        """Return what deleting a template of so many versions would delete."""
        return cls(template_id=template.id, name=template.name, versions=versions)


class ScheduleDeletionOut(Wire, frozen=True, kw_only=True):
    """What the deletion of a schedule would delete; jobs that it has submitted stay."""

    object: Literal["schedule_deletion"] = "schedule_deletion"
    schedule_id: str
    name: str
    dry_run: bool = True
    runs: int  # rows of its ledger

    @classmethod
    def of(cls, schedule: CrawlSchedule, runs: int) -> "ScheduleDeletionOut":
        """Return what deleting a schedule with so many rows in its ledger would delete."""
        return cls(schedule_id=schedule.id, name=schedule.name, runs=runs)


class WebhookDeletionOut(Wire, frozen=True, kw_only=True):
    """What the deletion of a webhook would delete."""

    object: Literal["webhook_deletion"] = "webhook_deletion"
    webhook_id: str
    url: str
    dry_run: bool = True
    deliveries: int  # in any state
    waiting: int  # of these: what would never be delivered

    @classmethod
    def of(cls, webhook: Webhook, deliveries: Mapping[DeliveryState, int]) -> "WebhookDeletionOut":
        """Return what deleting a webhook with so many deliveries would delete."""
        return cls(
            webhook_id=webhook.id,
            url=webhook.url,
            deliveries=sum(deliveries.values()),
            waiting=deliveries.get(DeliveryState.PENDING, 0),
        )
