"""`crawlyard groups`: jobs that were submitted together."""

from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.options import argument, group, option
from crawlyard.cli.render.output import Facts, View, column, fields_of
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import STATES

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.operations.group import GroupOut

app = group(
    """Show, await and cancel jobs that were submitted together.

    crawlyard groups show ID
    crawlyard groups wait ID
    """
)

GroupId = Annotated[str, argument("ID", "Group id, from the answer to POST /jobs/batch.")]
Timeout = Annotated[
    float | None,
    option(values.span_s, "--timeout", "DURATION", "Wait at most DURATION; default forever."),
]


def _facts(group: "GroupOut") -> Facts:
    states = ", ".join(f"{STATES.get(s, s)} {count:,}" for s, count in group.states.items())
    phrases = {"states": states}
    return [(name, phrases.get(name, value)) for name, value in fields_of(group)]


_GROUPS: "View[GroupOut]" = View(
    key=lambda group: group.id,
    more=fields_of,
    more_shown=_facts,
    columns=(column("ID"), column("JOBS", right=True), column("PAGES", right=True)),
)

groups = PlainCommands(app=app, noun="groups", view=lambda _: _GROUPS)


@groups.show()
def show_group(group: GroupId) -> None:
    """Show the progress of a group: its jobs by state, pages, errors and time left.

    crawlyard groups show ID
    """


@app.command("wait")
@action()
async def wait_for_group(session: "Session", group: GroupId, *, at_most: Timeout = None) -> int:
    """Wait until all jobs of a group have ended; exit code 1 unless all have completed.

    crawlyard groups wait ID
    crawlyard groups wait ID --timeout 10m
    """
    ended = await session.surface.groups.wait(group, timeout_s=at_most)
    await session.show(ended, _GROUPS)
    return 0 if ended.ended and set(ended.states) == {"completed"} else 1


@app.command("cancel")
@action()
async def cancel_group(session: "Session", group: GroupId) -> None:
    """Cancel the jobs of a group that have not ended; their pages are kept.

    crawlyard groups cancel ID
    """
    done = await session.surface.groups.cancel(group)
    session.tell(
        f"cancelled {done.succeeded:,} of {count_noun(done.count, 'job')} that had not ended"
    )
