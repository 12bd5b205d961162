"""The public names of the package, and the module that defines each.

They are loaded on first use: the command line starts in a fraction of the time that all of their
modules take.
"""

# ruff: noqa: TC004 - the names are loaded on first use

TYPE_CHECKING = False  # typing takes 4 ms to load
if TYPE_CHECKING:
    from crawlyard.api.far import connect
    from crawlyard.api.near import open  # noqa: A004 - `crawlyard.open`
    from crawlyard.config import Settings
    from crawlyard.core.access.user import LOCAL, Actor, Grants, Role
    from crawlyard.core.crawl.page import ErrorKind, Page
    from crawlyard.core.endpoints.endpoint import every
    from crawlyard.core.events.event import Event, EventName
    from crawlyard.core.jobs.job import Job
    from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State, StateReason
    from crawlyard.core.jobs.limits import Decision, Limits, ResourceLimiter, Usage
    from crawlyard.core.jobs.progress import Eta, Progress
    from crawlyard.core.jobs.queue import PriorityQueue
    from crawlyard.core.jobs.retry import RetryPolicy, RetryReason
    from crawlyard.core.jobs.spec import JobSpec, Priority, Scope, Strategy, TextMode
    from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, ScheduleDraft
    from crawlyard.core.templates.template import (
        CrawlTemplate,
        ParameterType,
        TemplateDraft,
        TemplateParameter,
    )
    from crawlyard.core.webhooks.webhook import JobWebhook, Webhook
    from crawlyard.services.jobs.jobs import Jobs as JobManager
    from crawlyard.services.jobs.submission import Submission
    from crawlyard.services.results.results import Results
    from crawlyard.services.schedules.schedules import Schedules as Scheduler
    from crawlyard.services.templates.templates import Templates as TemplateManager
    from crawlyard.services.webhooks.webhooks import Webhooks
    from crawlyard.services.workers.progress import ProgressTracker
    from crawlyard.services.workers.worker import Worker
    from crawlyard.store.queries import JobQuery, PageQuery, ScheduleQuery, TemplateQuery
    from crawlyard.yard import Yard

__all__ = [
    "LIFECYCLE",
    "LOCAL",
    "Actor",
    "CrawlSchedule",
    "CrawlTemplate",
    "Decision",
    "ErrorKind",
    "Eta",
    "Event",
    "EventName",
    "Grants",
    "Job",
    "JobManager",
    "JobQuery",
    "JobSpec",
    "JobWebhook",
    "Limits",
    "Misfire",
    "Move",
    "Overlap",
    "Page",
    "PageQuery",
    "ParameterType",
    "Priority",
    "PriorityQueue",
    "Progress",
    "ProgressTracker",
    "ResourceLimiter",
    "Results",
    "RetryPolicy",
    "RetryReason",
    "Role",
    "ScheduleDraft",
    "ScheduleQuery",
    "Scheduler",
    "Scope",
    "Settings",
    "State",
    "StateReason",
    "Strategy",
    "Submission",
    "TemplateDraft",
    "TemplateManager",
    "TemplateParameter",
    "TemplateQuery",
    "TextMode",
    "Usage",
    "Webhook",
    "Webhooks",
    "Worker",
    "Yard",
    "connect",
    "every",
    "open",
]

_HOME = {
    "crawlyard.config": ("Settings",),
    "crawlyard.core.events.event": (
        "Event",
        "EventName",
    ),
    "crawlyard.core.jobs.job": ("Job",),
    "crawlyard.core.jobs.lifecycle": (
        "LIFECYCLE",
        "Move",
        "State",
        "StateReason",
    ),
    "crawlyard.core.jobs.limits": (
        "Decision",
        "Limits",
        "ResourceLimiter",
        "Usage",
    ),
    "crawlyard.core.crawl.page": (
        "ErrorKind",
        "Page",
    ),
    "crawlyard.core.jobs.progress": (
        "Eta",
        "Progress",
    ),
    "crawlyard.core.jobs.queue": ("PriorityQueue",),
    "crawlyard.core.jobs.retry": (
        "RetryPolicy",
        "RetryReason",
    ),
    "crawlyard.core.schedules.schedule": (
        "CrawlSchedule",
        "Misfire",
        "Overlap",
        "ScheduleDraft",
    ),
    "crawlyard.core.jobs.spec": (
        "JobSpec",
        "Priority",
        "Scope",
        "Strategy",
        "TextMode",
    ),
    "crawlyard.core.templates.template": (
        "CrawlTemplate",
        "TemplateParameter",
        "ParameterType",
        "TemplateDraft",
    ),
    "crawlyard.core.access.user": (
        "LOCAL",
        "Actor",
        "Grants",
        "Role",
    ),
    "crawlyard.core.webhooks.webhook": (
        "JobWebhook",
        "Webhook",
    ),
    "crawlyard.services.jobs.jobs": ("JobManager",),
    "crawlyard.services.workers.progress": ("ProgressTracker",),
    "crawlyard.services.results.results": ("Results",),
    "crawlyard.services.schedules.schedules": ("Scheduler",),
    "crawlyard.services.jobs.submission": ("Submission",),
    "crawlyard.services.templates.templates": ("TemplateManager",),
    "crawlyard.services.webhooks.webhooks": ("Webhooks",),
    "crawlyard.services.workers.worker": ("Worker",),
    "crawlyard.store.queries": ("JobQuery", "PageQuery", "ScheduleQuery", "TemplateQuery"),
    "crawlyard.yard": ("Yard",),
    "crawlyard.api.far": ("connect",),
    "crawlyard.api.near": ("open",),
    "crawlyard.core.endpoints.endpoint": ("every",),
}

MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

ALIASES = {"JobManager": "Jobs", "TemplateManager": "Templates", "Scheduler": "Schedules"}
"""Public names of classes that have another name in their module."""
