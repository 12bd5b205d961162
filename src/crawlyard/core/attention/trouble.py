"""Kinds of problems that need a person."""

from enum import StrEnum, auto


class Trouble(StrEnum):
    """The kinds of problems that need a person, most urgent first."""

    NO_WORKER = auto()  # jobs wait, and no worker takes any
    NO_WORKER_TAG = auto()  # jobs wait for a worker with tags that none has
    DISK_FULL = auto()  # the disk of the data directory is nearly full
    JOB_DAMAGED = auto()  # the row of a job cannot be read
    SCHEDULE_OVERDUE = auto()  # a schedule was due and did not run
    SCHEDULE_PAUSED = auto()  # a schedule was paused because its runs failed, or it is unreadable
    RUNS_FAILING = auto()  # the last jobs of a schedule, a template or a name have all failed
    JOB_FAILED = auto()  # a job failed within the last day
    JOB_PAUSED = auto()  # a job is paused: disk full, grant missing, or for very long
    LOGGED_OUT = auto()  # a job was paused because its session at a site is logged out
    HOST_REFUSING = auto()  # a host answers with 429 or 503, and nothing else
    WEBHOOK_OFF = auto()  # a webhook was disabled because no message was delivered
    WEBHOOK_FAILING = auto()  # the last messages to a webhook were not delivered
    JOB_STOPPED = auto()  # its limit of errors stopped a job within the last day
    NEEDS_SCRIPTS = auto()  # pages of a job that ended within the last day need scripts
