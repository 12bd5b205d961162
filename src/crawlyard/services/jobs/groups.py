"""Groups: jobs that were submitted together, for one user."""

from datetime import timedelta
from functools import partial

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import composed_method, endpoint, reply, wait_in_steps
from crawlyard.core.jobs.filter import Condition, FilterKey, condition
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.operations.answers import BulkOut
from crawlyard.core.operations.bulk import BulkAction, Chosen, JobAction
from crawlyard.core.operations.group import GroupOut, JobGroup
from crawlyard.errors import NotFound
from crawlyard.lazy import lazily
from crawlyard.services.jobs import parameters
from crawlyard.services.jobs.parameters import LONGEST_WAIT_S, Reason
from crawlyard.services.noun import Noun
from crawlyard.store.queries import JobQuery

# a remote call does not need the store
with lazily():
    from crawlyard.services.jobs import follow

READ, WRITE = Permit.JOBS_READ, Permit.JOBS_WRITE

_MOST_ESTIMATED = 200
"""Jobs whose time left is estimated; with more that have not ended, it is unknown."""


class Groups(Noun):
    """Shows, awaits and cancels groups of jobs.

    A group has the jobs of one `jobs.submit_many`, and new jobs that retry them. One that the user
    may not see raises `NotFound`, as does one whose jobs are all deleted.
    """

    @endpoint("GET /groups/{group_id}", READ)
    async def get(self, group_id: parameters.JobId) -> GroupOut:
        """Return a group: its jobs by state, their totals, and the time left if it is known."""
        group = await self._find(group_id)
        return GroupOut.of(group, await self._left_s(group))

    @composed_method
    async def wait(self, group_id: str, *, timeout_s: float | None = None) -> GroupOut:
        """Wait until all jobs of a group have ended, and return it.

        After *timeout_s*, it is returned as it is; ``None``: never.
        """
        wait = partial(self._wait, group_id)
        return await wait_in_steps(wait, lambda group: group.ended, timeout_s, LONGEST_WAIT_S)

    @endpoint("GET /groups/{group_id}/wait", READ)
    async def _wait(
        self, group_id: parameters.JobId, *, timeout_s: parameters.Timeout = 30.0
    ) -> GroupOut:
        """Wait until all jobs of a group have ended, and return it as it then is.

        After `timeout_s`, it is returned as it is.
        """
        group = await follow.wait_until(
            self._services.store,
            self._services.clock,
            partial(self._find, group_id),
            lambda group: group.ended,
            timedelta(seconds=timeout_s),
            reply().gone,
        )
        return GroupOut.of(group, await self._left_s(group))

    @endpoint("POST /groups/{group_id}/cancel", WRITE, "202", example=parameters.WITH_REASON)
    async def cancel(self, group_id: parameters.JobId, reason: Reason = "") -> BulkOut:
        """Cancel the jobs of a group that have not ended: up to 200 at once, more as operation."""
        group = await self._find(group_id)
        action = BulkAction(action=JobAction.CANCEL, reason=reason)
        done = await self._services.bulk.act(self._actor, action, Chosen(where=_open(group)))
        if done.operation is not None:
            reply().status = 202
            reply().location = f"/api/v1/operations/{done.operation.id}"
        return BulkOut.filled(done)

    async def _find(self, group_id: str) -> JobGroup:
        group = await self._services.store.groups.get(group_id.lower())
        if group is None or not self._actor.may_see(group.owner):
            raise NotFound(f"there is no group {group_id}")
        return group

    async def _left_s(self, group: JobGroup) -> float | None:
        open_jobs = sum(count for state, count in group.states.items() if state not in ENDED)
        if group.states.get(State.RUNNING) != open_jobs or open_jobs > _MOST_ESTIMATED:
            return None
        query = JobQuery(where=_open(group))
        standings = await self._services.store.jobs.find(query, _MOST_ESTIMATED)
        etas = [progress_of_standing(standing).eta for standing in standings]
        return max((eta.p50_s for eta in etas if eta), default=None) if all(etas) else None


def _open(group: JobGroup) -> tuple[Condition, ...]:
    """Return the conditions of its jobs that have not ended."""
    states = [state for state in State if state not in ENDED]
    in_group = condition(FilterKey.GROUP_ID, [group.id])
    return in_group, condition(FilterKey.STATE, states)
