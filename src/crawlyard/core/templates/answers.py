"""Answers about templates."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.templates.render import RenderedTemplate
from crawlyard.core.templates.secrets import (
    credentials,
    hide_credentials,
    hide_params,
    secret_names,
)
from crawlyard.core.templates.template import (
    CrawlTemplate,
    KeptTemplate,
    SavedTemplate,
    TemplateDraft,
    TemplateParameter,
)


@derive_answer
class ParameterOut(TemplateParameter, Wire, frozen=True, kw_only=True):
    """A parameter of a template; a null default: there is none, no allowed values: all."""

    @classmethod
    def with_hidden_values(
        cls, parameter: TemplateParameter, secret: Collection[str]
    ) -> "ParameterOut":
        """Return the answer; its values are hidden if *secret* has its name."""
        values = [parameter.default, *parameter.allowed]
        default, *allowed = (hide_params({parameter.name: v}, secret) for v in values)
        return cls.filled(
            parameter,
            default=default[parameter.name],
            allowed=tuple(value[parameter.name] for value in allowed),
        )


@derive_answer
class TemplateOut(CrawlTemplate, Wire, frozen=True, kw_only=True):
    """One version of a template; values of credentials in its spec and parameters are hidden."""

    object: Literal["template"] = "template"
    parameters: tuple[ParameterOut, ...]

    @classmethod
    def of(cls, template: CrawlTemplate) -> "TemplateOut":
        """Return the answer without credentials."""
        secret = secret_names(template.spec)
        return cls.filled(
            template,
            parameters=tuple(
                ParameterOut.with_hidden_values(p, secret) for p in template.parameters
            ),
            spec=hide_credentials(template.spec),
        )


class SavedTemplateOut(TemplateOut, frozen=True, kw_only=True):
    """A template after a change, and the paths of the credentials that were removed from it."""

    stripped: tuple[str, ...]
    kept: tuple[KeptTemplate, ...] = ()  # of publishing

    @classmethod
    def of_saved(cls, saved: SavedTemplate) -> "SavedTemplateOut":
        """Return the answer for a template that has been saved."""
        template = TemplateOut.of(saved.template)
        return cls.filled(template, stripped=saved.stripped, kept=saved.kept)


class RenderedOut(Wire, frozen=True, kw_only=True):
    """A template filled for a job: every field of its spec, and the source of each value."""

    object: Literal["rendered_template"] = "rendered_template"
    template_id: str
    template_name: str
    template_version: int
    spec: Mapping[str, Any]
    sources: Mapping[str, str]  # "default", "template v3" or "this job", by path: "limits.pages"

    @classmethod
    def of(cls, rendered: RenderedTemplate) -> "RenderedOut":
        """Return the answer for *rendered*; values of credentials are hidden."""
        return cls(
            template_id=rendered.template.id,
            template_name=rendered.template.name,
            template_version=rendered.template.version,
            spec=hide_credentials(rendered.form),
            sources=rendered.sources,
        )


@derive_answer
class CheckedTemplateOut(TemplateDraft, Wire, frozen=True, kw_only=True):
    """A valid template that was not saved; values of credentials are hidden."""

    object: Literal["checked_template"] = "checked_template"
    parameters: tuple[ParameterOut, ...]
    credentials: tuple[str, ...]  # paths of the credentials that publishing removes

    @classmethod
    def of(cls, draft: TemplateDraft) -> "CheckedTemplateOut":
        """Return the answer for *draft*; values of credentials are hidden."""
        return cls.filled(draft, spec=hide_credentials(draft.spec), credentials=credentials(draft))


class ConvertedTemplateOut(Wire, frozen=True, kw_only=True):
    """A template as fields, and as the text of a file; credentials are as they were sent."""

    object: Literal["converted_template"] = "converted_template"
    template: Mapping[str, Any]  # as in `POST /templates`
    content: str  # YAML


class TemplateDeletionOut(Wire, frozen=True, kw_only=True):
    """Extent of deleting a template; jobs created from it stay."""

    object: Literal["template_deletion"] = "template_deletion"
    template_id: str
    name: str
    dry_run: bool = True
    versions: int

    @classmethod
    def of(cls, template: CrawlTemplate, versions: int) -> "TemplateDeletionOut":
        """Return the extent of deleting a template with so many versions."""
        return cls(template_id=template.id, name=template.name, versions=versions)
