"""Verdicts on changes to a job, applied to one job or to many."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from crawlyard.core.access.job_parts import may_change_job, sees_job
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import ErrorGroup, ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import DELETABLE, Job, JobVerb, Standing, damage_of, has_rest
from crawlyard.core.jobs.lifecycle import DONE_IN, LIFECYCLE, STATE_WORDS, Move, State
from crawlyard.core.jobs.limits import Limits, Usage, breach, subtract_failed
from crawlyard.core.jobs.spec_json import apply_changes
from crawlyard.core.words import ERRORS
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Forbidden, IllegalMove
from crawlyard.services.access.policy import within_ceilings
from crawlyard.store.queries import Judged, Verdict


def limit_to_permitted(actor: Actor, verdict: Verdict) -> Verdict:
    """Return *verdict* for the jobs that the actor may change; others are refused."""

    def judge(standing: Standing) -> tuple[Job, Event] | None:
        check_may_change(actor, standing.job)
        return verdict(standing)

    return judge


def filter_visible(actor: Actor, verdicts: Mapping[str, Judged]) -> Mapping[str, Judged]:
    """Return the verdicts on the jobs that the actor may see."""
    return {job_id: verdict for job_id, verdict in verdicts.items() if sees_job(actor, verdict.job)}


def check_may_change(actor: Actor, job: Job) -> None:
    """Check that the actor may change a job.

    Raises:
        Forbidden: they may not.
    """
    if not may_change_job(actor, job):
        raise Forbidden(f"{actor.id} may view job {job.id}, but not change it")


def check_may_delete(actor: Actor, job: Job) -> None:
    """Check that the actor may delete a job, and that its state allows it.

    Raises:
        Forbidden, IllegalMove: as the names say.
    """
    check_owns(actor, job)
    check_deletable(job)


def check_owns(actor: Actor, job: Job) -> None:
    """Check that the actor may delete a job, and decide who may see it.

    Raises:
        Forbidden: they may not.
    """
    if not actor.may_change(job.owner):
        raise Forbidden(f"only {job.owner} and admins may delete or share job {job.id}")


def after_move(
    standing: Standing, move: Move, now: datetime, actor: Actor, why: str
) -> tuple[Job, Event] | None:
    """Return a job after a move, and the event; ``None`` if it already is in that state."""
    old = standing.job
    if move is not Move.CANCEL:
        check_sound(old)
    if old.state in DONE_IN.get(move, ()) and not old.waits_at(now):
        return None
    change = old.apply_move(move, now, actor=actor.id, detail=why)
    if move is Move.RESUME:
        _check_resumable(standing)
    return change


def after_edit(
    old: Job,
    changes: Mapping[str, object],
    ceilings: tuple[Limits, Limits],
    now: datetime,
    actor: Actor,
) -> tuple[Job, Event] | None:
    """Return a job with changes to its spec, and the event; ``None`` if no value differs."""
    check_sound(old)
    spec = apply_changes(old.spec, changes, check_spec)
    within = within_ceilings(spec, *ceilings)
    new_values = {name: str(value) for name, value in changes.items()}
    job, event = old.edit(within.spec, now, actor=actor.id, changed=new_values)
    return None if job.spec == old.spec else (job, within.with_cut_limits(event))


def check_deletable(job: Job) -> None:
    """Check that a job can be deleted.

    Raises:
        IllegalMove: it is pending or running.
    """
    waits = job.damaged and job.state is State.PENDING  # running it could only fail
    if job.state not in DELETABLE and not waits:
        message = f"cannot delete a job that is {STATE_WORDS[job.state]}; cancel it first"
        raise IllegalMove(message, allowed=tuple(LIFECYCLE[job.state]))


def check_sound(job: Job) -> None:
    """Refuse every change to a damaged job except cancelling or deleting it."""
    if job.damaged:
        end = "cancel" if job.state is State.RUNNING else "delete"
        raise IllegalMove(f"job {job.id} is {damage_of(job)}", allowed=(end,))


def _check_resumable(standing: Standing) -> None:
    job, usage = standing.job, standing.shard.usage
    if not job.state.ended:
        return
    if not has_rest(usage):
        raise IllegalMove(
            f"job {job.id} has nothing left to fetch; crawl it again as a new job",
            allowed=_restarts(standing, failed=bool(usage.errors)),
        )
    check_limits(job, usage)


def none_failed(
    standing: Standing, kinds: Collection[ErrorKind], groups: Sequence[ErrorGroup]
) -> IllegalMove:
    """Return the error for a retry of failed URLs when *groups* has none of *kinds*."""
    job = standing.job
    if groups:
        failures = ", ".join(f"{group.count:,} {ERRORS[group.kind]}" for group in groups)
        filters = " or ".join(f'"{words}"' for words in sorted(ERRORS[kind] for kind in kinds))
        message = f"no URL of job {job.id} failed with {filters}; what failed: {failures}"
    else:
        message = f"no URL of job {job.id} failed; crawl it again as a new job"
    return IllegalMove(message, allowed=_restarts(standing, failed=bool(groups)))


def _restarts(standing: Standing, *, failed: bool) -> tuple[str, ...]:
    """Return the actions by which an ended job, or a copy of it, would fetch something."""
    job, usage = standing.job, standing.shard.usage
    goes_on = has_rest(usage) and breach(job.limits, usage) is None
    moves = [Move.RESUME] if goes_on else []
    return (*moves, *([Move.RETRY_FAILED] if failed else []), JobVerb.RETRY)


def usage_without(usage: Usage, failed: Sequence[ErrorGroup]) -> Usage:
    """Return *usage* as it will be once all of *failed* wait again."""
    count, answered = sum(g.count for g in failed), sum(g.answered for g in failed)
    return subtract_failed(usage, targets=count, pages=answered, errors=count)


def check_limits(job: Job, usage: Usage) -> None:
    """Refuse to continue a job that would end at once because a limit is used up."""
    limit = breach(job.limits, usage)
    if limit is not None:
        raise IllegalMove(
            f"job {job.id} has used up limits.{limit}; raise it first",
            allowed=("edit",),
        )
