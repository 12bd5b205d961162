"""Kinds of problems that need a person."""

from enum import StrEnum, auto


class Trouble(StrEnum):
    """The kinds of problems that need a person, most urgent first."""

    NO_WORKER = auto()  # jobs wait, and no worker takes any
    NO_WORKER_TAG = auto()  # jobs wait for a worker with tags that none has
    DISK_FULL = auto()  # the disk of the data directory is nearly full
    JOB_DAMAGED = auto()  # the row of a job cannot be read
    SCHEDULE_OVERDUE = auto()  # a schedule should have been fired, and was not
    SCHEDULE_PAUSED = auto()  # a schedule was paused since its runs failed, or it is unreadable
    RUNS_FAILING = auto()  # the last jobs of a schedule, a template or a name have all failed
    JOB_FAILED = auto()  # a job failed within the last day
    JOB_PAUSED = auto()  # a job was paused for want of room or of a grant, or long ago
    LOGGED_OUT = auto()  # a job was paused since its session at a site is logged out
    HOST_REFUSING = auto()  # a host answers with 429 or 503, and nothing else
    WEBHOOK_OFF = auto()  # a webhook was switched off since nothing arrived
    WEBHOOK_FAILING = auto()  # the last messages to a webhook did not arrive
    JOB_STOPPED = auto()  # its limit of errors stopped a job within the last day
    NEEDS_SCRIPTS = auto()  # pages of a job that ended within the last day need scripts
