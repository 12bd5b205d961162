"""Attention: problems that need a person, as one user sees and dismisses them."""

from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.attention import attention
from crawlyard.core.endpoints.endpoint import OWN_ACCOUNT, endpoint
from crawlyard.services.noun import Noun

NoticeId = Annotated[
    str, Meta(min_length=1, max_length=attention.LONGEST_ID, description="The `id` of a notice.")
]
_DISMISSED = {"notice": "5d1a0c9e7b3f42d68a90c1e2"}


class Attention(Noun):
    """Lists problems that need a person; users dismiss them for themselves."""

    @endpoint("GET /attention", Permit.JOBS_READ, group="stats", name="attention")
    async def get(self) -> attention.AttentionOut:
        """List problems that need attention, since when, and the endpoint that helps.

        Covers what you own, for an admin everything; leaves out what your token may not read and
        what you dismissed.
        """
        return await self._services.overview.attention(self._actor, self._permits)

    @endpoint(
        "POST /attention/dismiss",
        OWN_ACCOUNT,
        status=204,
        group="stats",
        name="attention_dismiss",
        example=_DISMISSED,
    )
    async def dismiss(self, notice: NoticeId) -> None:
        """Hide a notice from yourself until the problem occurs again.

        A notice without a start time is hidden for a day.
        """
        now, dismissals = self._services.clock.now(), self._services.store.dismissals
        await dismissals.add(self._actor.id, notice, now, now - attention.DISMISSED_FOR)

    @endpoint(
        "POST /attention/restore",
        OWN_ACCOUNT,
        status=204,
        group="stats",
        name="attention_restore",
        example=_DISMISSED,
    )
    async def restore(
        self,
        notice: Annotated[NoticeId | None, Meta(description="Null: all of them.")] = None,
    ) -> None:
        """Show a dismissed notice again."""
        await self._services.store.dismissals.drop(self._actor.id, notice)
