"""`crawlyard templates …`: versioned crawls with parameters."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED, exit_code_of, failure_lines
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.crawl_options import SpecOptions, Urls, form_of, form_over
from crawlyard.cli.jobs.lookup import resolve_since
from crawlyard.cli.options import (
    Basics,
    IdempotencyKey,
    Limit,
    Yes,
    argument,
    choice,
    flag,
    flat,
    group,
    key_for,
    option,
)
from crawlyard.cli.stdin_args import STDIN
from crawlyard.cli.stdout import write
from crawlyard.cli.templates.options import (
    TEMPLATE,
    Params,
    Ref,
    Version,
    parameter_of,
    params_of,
)
from crawlyard.cli.usage import essential
from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.templates.template import FileFormat, TemplateDraft
from crawlyard.errors import Invalid, NotFound, Unconfirmed
from crawlyard.lazy import lazily

# a command needs one or two of them
with lazily():
    from crawlyard.cli.templates import drafts, views
    from crawlyard.core.templates import secrets
    from crawlyard.export import files
    from crawlyard.services.templates import files as forms
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.templates.answers import SavedTemplateOut, TemplateOut

app = group(
    """Create and manage templates: versioned crawl settings with parameters.

    crawlyard templates create news '{{start_url}}' --param start_url:url --max-pages 200
    crawlyard crawl --template news -p start_url=https://example.org
    crawlyard templates list
    """
)

_OURS_ALONE = 0o600  # the file may contain credentials

Name = Annotated[str, argument("NAME", "Name of the template.")]
Refs = Annotated[
    list[str],
    argument("TEMPLATE", "Template names or ids."),
]
Number = Annotated[
    int,
    argument("VERSION", "Version number."),
]
Query = Annotated[
    str, option(str, "--query", "TEXT", "Only templates with TEXT in their name or description.")
]
Public = Annotated[bool, flag("--public", text="Only public templates.")]
Mine = Annotated[bool, flag("--mine", text="Only your own templates.")]
NewName = Annotated[
    str | None, option(values.line, "--name", "TEXT", "Name of the copy; default 'NAME copy'.")
]
Description = Annotated[str, option(str, "--description", "TEXT", "Purpose.", TEMPLATE)]
Declared = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="K:TYPE=V",
        help="Parameter {{K}} and its default; without '=V' it is required. Repeatable.",
        rich_help_panel=TEMPLATE,
        show_default=False,
    ),
]

Files = Annotated[
    list[str],
    argument("FILE", "Files in YAML or JSON; '-' for stdin."),
]
File = Annotated[
    str, option(str, "--file", "FILE", "Read the template from YAML or JSON; '-' for stdin.")
]
OtherName = Annotated[str | None, option(values.line, "--rename", "NAME", "New name.", TEMPLATE)]
About = Annotated[str | None, option(str, "--description", "TEXT", "Purpose.", TEMPLATE)]
Update = Annotated[bool, flag("--update", text="Create the next version of templates that exist.")]
Out = Annotated[str, option(str, "--out", "FILE", "Output file; '-' for stdout (default).")]
OutFormat = Annotated[
    FileFormat | None,
    choice("--format", of=FileFormat, text="Format of --out", default="by suffix"),
]


@app.command("list")
@action(empty=True)
async def list_(
    session: "Session",
    *,
    query: Query = "",
    public: Public = False,
    mine: Mine = False,
    limit: Limit = None,
) -> None:
    """List your templates and the public ones, by name.

    crawlyard templates list
    crawlyard templates list --query news --json
    """
    template_list = every(
        session.surface.templates.list,
        visibility="public" if public else None,
        owner="me" if mine else None,
        q=query,
        limit=session.list_limit(limit),
    )
    count = await session.write_list(template_list, views.templates_view(session.clock.now()))
    is_filtered = query or public or mine
    none = "no template is like that" if is_filtered else "there is no template yet"
    session.tell_list_end(count, limit, none)


@app.command()
@action()
async def show(session: "Session", template: Ref, *, version: Version = None) -> None:
    """Show one template in detail; credentials are hidden.

    crawlyard templates show news
    crawlyard templates show ada/news --version 3 --json
    """
    manager = session.surface.templates
    version_record = await (
        manager.get(template) if version is None else manager.version(template, version)
    )
    await session.show(version_record, views.templates_view(session.clock.now()))


@app.command()
@essential("--param --description --scope --exclude --max-pages --max-depth --tag --server")
@action(creates=True, name="NAME", parameters="--param")
async def create(
    session: "Session",
    template: Name,
    urls: Urls = None,
    *,
    description: Description = "",
    param: Declared = None,
    idempotency_key: IdempotencyKey = None,
    options: SpecOptions,
) -> None:
    """Create a template from the options of `crawlyard crawl`.

    crawlyard templates create docs https://docs.example.org --scope prefix --max-pages 500
    crawlyard templates create news '{{start_url}}' -p start_url:url -p section:text=world

    {{K}} inserts parameter K into URLs, patterns, headers and the name of the job. To use a
    parameter for a number, a choice or a list, write a file and import it (templates import).
    """
    draft = TemplateDraft(
        name=template,
        description=description,
        spec=await resolve_since(session, form_of(urls or (), options)),
        parameters=tuple(parameter_of(word) for word in param or ()),
    )
    created = await session.surface.templates.create(
        forms.data_of(draft), idempotency_key=idempotency_key
    )
    await _report_change(session, "created", created)


@app.command()
@essential("--file --rename --description --scope --exclude --max-pages --max-depth --server")
@action(name="--rename", parameters="parameter")
async def edit(
    session: "Session",
    template: Ref,
    urls: Urls = None,
    *,
    file: File = "",
    rename: OtherName = None,
    description: About = None,
    options: SpecOptions,
) -> None:
    """Create the next version of a template: by options, from a file, or in $EDITOR.

    crawlyard templates edit news
    crawlyard templates edit news --max-pages 500 --exclude '*/print/*'
    crawlyard templates edit news --max-duration none --rename headlines
    crawlyard templates edit news --file news.yaml

    Options of `crawl` change only the fields that they set. A list replaces the previous one;
    'none' removes a limit or a list.
    """
    form = await resolve_since(session, form_of(urls or (), options))
    if file and form:
        raise Invalid("--file", "excludes options of `crawl`: the file has the whole spec")
    before = await session.surface.templates.get(template)
    old = await drafts.export_draft(session, before.id, before.version)
    fields = {"name": rename, "description": description}
    changes: dict[str, Any] = {field: v for field, v in fields.items() if v is not None}
    if form:
        changes["spec"] = form_over(old.spec, form)
    if file or changes:
        draft = replace(drafts.draft_from(file) if file else old, **changes)
        saved = await _save_version(session, before, old, draft)
    else:
        with drafts.edit_draft(old) as draft:
            saved = await _save_version(session, before, old, draft)
    await _report_edit(session, before, saved)


async def _save_version(
    session: "Session", before: "TemplateOut", old: TemplateDraft, new: TemplateDraft
) -> "SavedTemplateOut":
    """Save *new* as the version of a template after *before*, whose draft is *old*."""
    patch = patch_between(forms.data_of(old), forms.data_of(new))
    if new.parameters != old.parameters:
        # a list replaces the old one; an object would be merged into it, in the old order
        parameters: Any = forms.data_of(new).get("parameters", {})
        patch["parameters"] = [{"name": name, **fields} for name, fields in parameters.items()]
    return await session.surface.templates.edit(before.id, patch, version=before.version)


@app.command()
@flat()
def validate(files: Files, *, basics: Basics) -> None:
    """Check template files without saving them.

    crawlyard templates validate news.yaml
    crawlyard templates export news | crawlyard templates validate -

    If a file is invalid, prints the position of the error and exits with 2.
    """
    code = 0
    for file in files:
        try:
            draft = drafts.draft_from(file)
        except Invalid as error:
            code = exit_code_of(error)
            lines = failure_lines(error, "" if file in error.field else file)
            sys.stderr.writelines(f"{line}\n" for line in lines)
            continue
        if not basics.quiet:
            open_places = ", ".join(p.name for p in draft.parameters) or "no parameters"
            sys.stderr.write(f"{file}: template {draft.name} ({open_places}) is valid\n")
    raise typer.Exit(code)


@app.command()
@essential("--param --version --max-pages --json --server")
@action(params="--param")
async def render(
    session: "Session",
    template: Ref,
    urls: Urls = None,
    *,
    param: Params = None,
    version: Version = None,
    options: SpecOptions,
) -> None:
    """Show the settings of a job from a template, and the source of each value.

    crawlyard templates render news -p start_url=https://example.org
    crawlyard templates render news -p start_url=https://example.org --max-pages 10 --json
    """
    rendered = await session.surface.templates.render(
        template,
        params=params_of(param or ()),
        overrides=await resolve_since(session, form_of(urls or (), options)),
        version=version,
    )
    if session.common.quiet:
        write(f"{rendered.template_id}\n".encode())
    elif session.uses_api_format:
        session.write_record(rendered)
    else:
        await session.write_list(views.values_of(rendered.spec, rendered.sources), views.VALUES)
    session.tell(f"template {rendered.template_name} v{rendered.template_version}")


@app.command()
@action()
async def publish(session: "Session", template: Ref, *, yes: Yes = False) -> int:
    """Publish a template: other users can use a new version of it, without its credentials.

    crawlyard templates publish news
    crawlyard templates publish news --yes --json

    Your schedules that use the credentials keep them as parameters or options of their own. The
    command lists these schedules and asks for confirmation.
    """
    try:
        saved = await session.surface.templates.publish(template, confirm=yes)
    except Unconfirmed as error:
        about = "These schedules use credentials that will be removed from the template:"
        lines = [about, *(f"  {_keeping(holder)}" for holder in error.schedules)]
        question = "Publish, and keep them in these schedules?"
        if not session.confirm(question, lines, str(error)):
            session.tell("nothing was published")
            return DECLINED
        saved = await session.surface.templates.publish(template, confirm=True)
    await _report_change(session, "public", saved)
    if saved.kept:
        credentials = ", ".join(_keeping(as_dict(holder)) for holder in saved.kept)
        session.tell(f"  credentials kept by schedules: {credentials}")
    ref = f"{saved.owner}/{saved.name}"
    session.tell(f"others use it as {ref}, without its earlier private versions")
    return 0


def _keeping(holder: Mapping[str, Any]) -> str:
    return f"{holder['name']} ({', '.join(holder['fields'])})"


@app.command()
@action()
async def unpublish(session: "Session", template: Ref) -> None:
    """Make a template private again.

    crawlyard templates unpublish news
    crawlyard templates unpublish news --json
    """
    await _report_change(session, "private", await session.surface.templates.unpublish(template))


@app.command()
@action()
async def duplicate(
    session: "Session",
    template: Ref,
    *,
    name: NewName = None,
    version: Version = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create a private copy of a template.

    crawlyard templates duplicate ada/news --name news
    crawlyard templates duplicate news --version 2
    """
    copy = await session.surface.templates.duplicate(
        template, name=name, version=version, idempotency_key=idempotency_key
    )
    await _report_change(session, "created", copy)


@app.command()
@action()
async def versions(session: "Session", template: Ref) -> None:
    """List the versions of a template, the newest first.

    crawlyard templates versions news
    crawlyard templates versions news -o jsonl
    """
    version_list = every(session.surface.templates.versions, template)
    await session.write_list(version_list, views.versions_view(session.clock.now()))


@app.command()
@action()
async def restore(session: "Session", template: Ref, version: Number) -> None:
    """Create a new version from an earlier one.

    crawlyard templates restore news 2
    crawlyard templates versions news && crawlyard templates restore news 5
    """
    before = await session.surface.templates.get(template)
    saved = await session.surface.templates.restore(before.id, version)
    await _report_edit(session, before, saved)


@app.command("import")
@action(creates=True)
async def import_(
    session: "Session",
    paths: Files,
    *,
    update: Update = False,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create templates from files.

    crawlyard templates import news.yaml docs.json
    crawlyard templates import --update news.yaml
    """
    checked = [drafts.draft_from(path) for path in paths]  # all are valid, or none is imported
    for draft in checked:
        there = await _find_by_name(session, draft.name) if update else None
        if there is None:
            template = await session.surface.templates.create(
                forms.data_of(draft), idempotency_key=key_for(idempotency_key, draft.name)
            )
            await _report_change(session, "created", template)
        else:
            old = await drafts.export_draft(session, there.id, there.version)
            await _report_edit(session, there, await _save_version(session, there, old, draft))


async def _find_by_name(session: "Session", name: str) -> "TemplateOut | None":
    try:
        return await session.surface.templates.get(name)
    except NotFound:
        return None


@app.command()
@action(basics=Basics)
async def export(
    session: "Session",
    template: Ref,
    *,
    version: Version = None,
    out: Out = STDIN,
    format: OutFormat = None,  # noqa: A002 - the name of the option
) -> None:
    """Write a template to a file, including credentials.

    crawlyard templates export news --out news.yaml
    crawlyard templates export news --version 2 --format json | jq .spec
    """
    draft = await drafts.export_draft(session, template, version)
    text = forms.format_draft(draft, drafts.format_for(out, format)).encode()
    if out == STDIN:
        write(text)
    else:
        files.check_writable(Path(out))
        with files.whole_file(Path(out), _OURS_ALONE) as sink:
            sink(text)
        session.tell(f"template {draft.name} written to {out}")
    secret = secrets.credentials(draft)
    if secret:
        session.tell(f"the file contains credentials: {', '.join(secret)}")


@app.command()
@action(basics=Basics)
async def delete(session: "Session", templates: Refs, *, yes: Yes = False) -> int:
    """Delete templates with all their versions; jobs created from them stay.

    crawlyard templates delete news
    crawlyard templates list --mine --query trial -q | xargs crawlyard templates delete --yes
    """
    targets = [await session.surface.templates.get(ref) for ref in templates]
    about = [f"{target.name}  v{target.version}  {target.id}" for target in targets]
    if not session.confirm_deletion("templates", about, "all versions", yes=yes):
        return DECLINED
    for template in targets:
        await session.surface.templates.delete(template.id, version=template.version)
        session.tell(f"deleted: {template.name}")
    return 0


async def _report_edit(
    session: "Session", before: "TemplateOut", after: "SavedTemplateOut"
) -> None:
    await _report_change(
        session, "unchanged" if after.version == before.version else "changed", after
    )


async def _report_change(session: "Session", done: str, template: "TemplateOut") -> None:
    """Report a change of a template, and write it if requested."""
    session.tell(f"{done}: {template.name} v{template.version}  {template.id}")
    if stripped := getattr(template, "stripped", ()):
        session.tell(f"  without its credentials: {', '.join(stripped)}")
    await session.write_changed_records([template], views.templates_view(session.clock.now()))
