"""Consent of a person before a crawl contacts a new host, or a job is cancelled."""

from typing import Annotated

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field


class Consent(BaseModel):
    """Form that the client shows to its user."""

    agree: bool = Field(description="Go ahead")


Confirm = Annotated[
    bool,
    Field(
        description="Only for clients that cannot show a question: true once the user has agreed."
    ),
]


def question(context: Context, text: str, *, confirm: bool) -> Consent | Elicit[Consent]:
    """Return a question for the user; without elicitation, *confirm* is the answer.

    A client that can show the question is always asked: *confirm* is an argument that the model
    writes.

    Raises:
        ToolError: the client cannot show a question, and *confirm* is false.
    """
    capabilities = context.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return Elicit(text, Consent)
    if not confirm:
        raise ToolError(
            f"{text} This client cannot show the question: ask the user, and call the tool again "
            "with confirm=true if they agree."
        )
    return Consent(agree=True)


def check_consent(consent: ElicitationResult[Consent]) -> None:
    """Check that the user agreed.

    Raises:
        ToolError: they did not.
    """
    if not (isinstance(consent, AcceptedElicitation) and consent.data.agree):
        raise ToolError("the user did not agree; nothing was done. Don't try again unless asked.")
