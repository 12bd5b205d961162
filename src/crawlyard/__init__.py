"""Crawlyard: a self-hosted crawl job manager.

from crawlyard import LOCAL, JobSpec, Limits, Yard

async with Yard.open() as yard:
    spec = JobSpec(urls=("https://docs.example.org/",), limits=Limits(pages=100))
    job = await yard.jobs.submit(LOCAL, spec)
    await yard.worker(only=job.id).run()
    async for stored in yard.results.pages(LOCAL, job.id):
        print(stored.page.status, stored.page.url, stored.page.title)
"""

from importlib import import_module

TYPE_CHECKING = False  # typing takes 13 ms to load, in which Ctrl-C would print a traceback
if TYPE_CHECKING:
    from crawlyard.config import Settings
    from crawlyard.core.eta import Eta
    from crawlyard.core.event import Event, EventName
    from crawlyard.core.job import Job
    from crawlyard.core.lifecycle import LIFECYCLE, Move, State, StateReason
    from crawlyard.core.limits import Decision, Limits, ResourceLimiter, Usage
    from crawlyard.core.page import ErrorKind, Page
    from crawlyard.core.priority import Priority
    from crawlyard.core.progress import Progress
    from crawlyard.core.queue import PriorityQueue
    from crawlyard.core.retry import RetryPolicy, RetryReason
    from crawlyard.core.schedule import CrawlSchedule, Misfire, Overlap
    from crawlyard.core.schedule_records import ScheduleDraft
    from crawlyard.core.spec import JobSpec, Scope, Strategy, TextMode
    from crawlyard.core.template import CrawlTemplate, Parameter, ParameterType, TemplateDraft
    from crawlyard.core.user import LOCAL, Actor, Grants, Role
    from crawlyard.core.webhook import JobWebhook, Webhook
    from crawlyard.services.jobs import JobManager
    from crawlyard.services.progress import ProgressTracker
    from crawlyard.services.results import Results
    from crawlyard.services.scheduler import Scheduler
    from crawlyard.services.submitting import Submission
    from crawlyard.services.templates import TemplateManager
    from crawlyard.services.webhooks import Webhooks
    from crawlyard.services.worker import Worker
    from crawlyard.store.queries import JobQuery, PageQuery, ScheduleQuery, TemplateQuery
    from crawlyard.yard import Yard

__version__: str

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
    "Parameter",
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
    "TemplateQuery",
    "TextMode",
    "Usage",
    "Webhook",
    "Webhooks",
    "Worker",
    "Yard",
]

_HOME = {
    "crawlyard.config": ("Settings",),
    "crawlyard.core.eta": ("Eta",),
    "crawlyard.core.event": (
        "Event",
        "EventName",
    ),
    "crawlyard.core.job": ("Job",),
    "crawlyard.core.lifecycle": (
        "LIFECYCLE",
        "Move",
        "State",
        "StateReason",
    ),
    "crawlyard.core.limits": (
        "Decision",
        "Limits",
        "ResourceLimiter",
        "Usage",
    ),
    "crawlyard.core.page": (
        "ErrorKind",
        "Page",
    ),
    "crawlyard.core.priority": ("Priority",),
    "crawlyard.core.progress": ("Progress",),
    "crawlyard.core.queue": ("PriorityQueue",),
    "crawlyard.core.retry": (
        "RetryPolicy",
        "RetryReason",
    ),
    "crawlyard.core.schedule": (
        "CrawlSchedule",
        "Misfire",
        "Overlap",
    ),
    "crawlyard.core.spec": (
        "JobSpec",
        "Scope",
        "Strategy",
        "TextMode",
    ),
    "crawlyard.core.template": (
        "CrawlTemplate",
        "Parameter",
        "ParameterType",
        "TemplateDraft",
    ),
    "crawlyard.core.user": (
        "LOCAL",
        "Actor",
        "Grants",
        "Role",
    ),
    "crawlyard.core.webhook": (
        "JobWebhook",
        "Webhook",
    ),
    "crawlyard.services.jobs": ("JobManager",),
    "crawlyard.services.progress": ("ProgressTracker",),
    "crawlyard.services.results": ("Results",),
    "crawlyard.core.schedule_records": ("ScheduleDraft",),
    "crawlyard.services.scheduler": ("Scheduler",),
    "crawlyard.services.submitting": ("Submission",),
    "crawlyard.services.templates": ("TemplateManager",),
    "crawlyard.services.webhooks": ("Webhooks",),
    "crawlyard.services.worker": ("Worker",),
    "crawlyard.store.queries": ("JobQuery", "PageQuery", "ScheduleQuery", "TemplateQuery"),
    "crawlyard.yard": ("Yard",),
}
"""Where each public name lives: modules are imported when they are asked for, since the
command line must start in a fraction of the time that all of them take."""

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public name from its module.

    Raises:
        AttributeError: there is none of that name.
    """
    if name == "__version__":
        return import_module("crawlyard.about").VERSION
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
