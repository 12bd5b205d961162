"""Arguments and options that name a template, its version and its parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from crawlyard.cli import values
from crawlyard.cli.options import option
from crawlyard.core.parse import boolean, number
from crawlyard.core.templates.template import ParameterType, TemplateParameter
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from crawlyard.services.jobs.parameters import FormTerms

TEMPLATE = "Template"

Ref = Annotated[
    str,
    typer.Argument(
        metavar="TEMPLATE",
        help="Template name, OWNER/NAME of a public template, or id.",
        show_default=False,
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="K=V",
        help="Set parameter K to V. Repeatable; several values of K form a list.",
        rich_help_panel=TEMPLATE,
        show_default=False,
    ),
]
Version = Annotated[
    int | None, option(values.count, "--version", "N", "Template version; default the latest.")
]


class Use(Struct, frozen=True, kw_only=True):
    """Template of a job, with its parameters."""

    template: Annotated[str, option(str, "--template", "T", "Use this template.", TEMPLATE)] = ""
    param: Params = None
    template_version: Annotated[
        int | None,
        option(
            values.count,
            "--template-version",
            "N",
            "Template version; default the latest.",
            TEMPLATE,
        ),
    ] = None

    def form_terms(self) -> "FormTerms":
        """Return the template and its parameters for a job request; empty if none is used.

        Raises:
            Invalid: a parameter is not K=V, or there is no template for it.
        """
        if not self.template:
            if self.param or self.template_version is not None:
                raise Invalid("--param", "requires --template")
            return {}
        return {
            "template": self.template,
            "template_version": self.template_version,
            "params": params_of(self.param or ()),
        }


def params_of(words: Sequence[str]) -> dict[str, object]:
    """Return the parameters in *words* of K=V; a repeated parameter has a list of values.

    Raises:
        Invalid: a word is not K=V.
    """
    values: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise Invalid("--param", f"expected NAME=VALUE such as pages=500, got {word!r}")
        values.setdefault(name.strip(), []).append(value)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


def parameter_of(word: str) -> TemplateParameter:
    """Return the parameter declared by NAME, NAME:TYPE or NAME:TYPE=DEFAULT.

    Without a default it is required.

    Raises:
        Invalid: there is no such type, or the default does not fit it.
    """
    declared, equals, default = word.partition("=")
    name, _, kind = (part.strip() for part in declared.partition(":"))
    types = ", ".join(ParameterType)
    if kind and kind not in list(ParameterType):
        raise Invalid("--param", f"expected NAME:TYPE=DEFAULT with one of {types}, got {word!r}")
    type_ = ParameterType(kind or "text")
    if not equals:
        return TemplateParameter(name=name, type=type_, required=True)
    return TemplateParameter(name=name, type=type_, default=_default(type_, default))


def _default(kind: ParameterType, word: str) -> object:
    """Return a default as in a file: numbers and booleans as such, the rest as text."""
    try:
        if kind is ParameterType.INTEGER:
            return values.count(word)
        if kind is ParameterType.NUMBER:
            return number(word)
        if kind is ParameterType.BOOLEAN:
            return boolean(word)
    except ValueError:
        return word  # the parameter reports what it expects
    return word
