"""`crawlyard templates …`: keep crawls under a name, with open places, in versions."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.jobs.crawl_options import SpecOptions, form_of
from crawlyard.cli.options import Basics, Common, choice, flag, flat, option
from crawlyard.cli.stdin_args import read_seeds
from crawlyard.cli.stdout import write_line
from crawlyard.cli.templates.options import (
    TEMPLATE,
    Params,
    Ref,
    Version,
    Yes,
    parameter_of,
    params_of,
)
from crawlyard.core.templates.template import FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.templates import actions, drafts, reports
else:
    invoke = lazily("crawlyard.cli.invoke")
    actions = lazily("crawlyard.cli.templates.actions")
    drafts = lazily("crawlyard.cli.templates.drafts")
    reports = lazily("crawlyard.cli.templates.reports")

app = typer.Typer()


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Keep crawls under a name, with open places, and run them again.

    crawlyard templates create news '{{start_url}}' --param start_url:url --max-pages 200
    crawlyard crawl --template news -p start_url=https://example.org
    crawlyard templates list
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)]
Urls = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="URL",
        help="Start URLs; '-' reads them from stdin, '@FILE' from a file.",
        show_default=False,
    ),
]
Refs = Annotated[
    list[str],
    typer.Argument(metavar="TEMPLATE", help="Names or ids.", show_default=False),
]
Number = Annotated[
    int,
    typer.Argument(metavar="VERSION", help="The number of the version.", show_default=False),
]
Query = Annotated[
    str, option(str, "--query", "TEXT", "Only where name or description has this in it.")
]
Public = Annotated[bool, flag("--public", text="Only public ones.")]
Mine = Annotated[bool, flag("--mine", text="Only your own.")]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
NewName = Annotated[str | None, option(values.line, "--name", "TEXT", "Its name; else NAME copy.")]
Description = Annotated[str, option(str, "--description", "TEXT", "What it is for.", TEMPLATE)]
Declared = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="K:TYPE=V",
        help="An open place {{K}} and its default; without '=V' it is required. Repeatable.",
        rich_help_panel=TEMPLATE,
        show_default=False,
    ),
]

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="YAML or JSON; '-' is stdin.", show_default=False),
]
File = Annotated[
    str, option(str, "--file", "FILE", "Take it from this YAML or JSON; '-' is stdin.")
]
OtherName = Annotated[str | None, option(values.line, "--name", "TEXT", "Another name.")]
About = Annotated[str | None, option(str, "--description", "TEXT", "What it is for.")]
Update = Annotated[
    bool, flag("--update", text="Where there is one of that name, make its next version.")
]
Out = Annotated[str, option(str, "--out", "FILE", "Where to; '-' is stdout, and the default.")]
OutFormat = Annotated[
    FileFormat | None, choice("--format", of=FileFormat, text="Of --out, else by its suffix")
]


@app.command("list")
@flat
def list_(
    *,
    query: Query = "",
    public: Public = False,
    mine: Mine = False,
    limit: Limit = 50,
    common: Common,
) -> None:
    """List your templates and the public ones, by name.

    crawlyard templates list
    crawlyard templates list --query news --json
    """
    doing = partial(reports.templates, query=query, public=public, mine=mine, limit=limit)
    doing = partial(doing, common=common)
    invoke.run(common, doing, absent=partial(reports.no_templates, common))


@app.command()
@flat
def show(template: Ref, *, version: Version = None, common: Common) -> None:
    """Show all there is to know of one template; credentials are hidden.

    crawlyard templates show news
    crawlyard templates show ada/news --version 3 --json
    """
    invoke.run(common, partial(reports.template, ref=template, version=version, common=common))


@app.command()
@flat
def create(
    template: Name,
    urls: Urls = None,
    *,
    description: Description = "",
    param: Declared = None,
    asked: SpecOptions,
    common: Common,
) -> None:
    """Keep a crawl as a template, with the options of `crawlyard crawl`.

    crawlyard templates create docs https://docs.example.org --scope prefix --max-pages 500
    crawlyard templates create news '{{start_url}}' -p start_url:url -p section:text=world

    A {{K}} may stand in any text: URLs, patterns, headers, name. Where a number, a
    word or a list is to be open, write a file and import it.
    """
    draft = TemplateDraft(
        name=template,
        description=description,
        spec=form_of(read_seeds(urls or ()), asked),
        parameters=tuple(parameter_of(word) for word in param or ()),
    )
    doing = partial(actions.create, draft=draft, common=common)
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def edit(
    template: Ref,
    *,
    file: File = "",
    name: OtherName = None,
    description: About = None,
    common: Common,
) -> None:
    """Make a next version of a template: in $EDITOR, from a file, or by an option.

    crawlyard templates edit news
    crawlyard templates edit news --file news.yaml
    crawlyard templates edit news --name headlines --description 'All front pages'
    """
    doing = partial(
        actions.edit,
        ref=template,
        file=file,
        name=name,
        description=description,
        common=common,
    )
    invoke.run(common, doing)


@app.command()
@flat
def validate(files: Files, *, basics: Basics) -> None:
    """Check files that hold templates; nothing is kept.

    crawlyard templates validate news.yaml
    crawlyard templates export news | crawlyard templates validate -

    Exits with 2 if there is something wrong, and says where.
    """
    code = 0
    for file in files:
        try:
            draft = drafts.draft_from(file)
        except Invalid as error:
            code = exit_code_of(error)
            told = failure_lines(error, "" if file in error.field else file)
            sys.stderr.writelines(f"{line}\n" for line in told)
            continue
        if not basics.quiet:
            open_places = ", ".join(p.name for p in draft.parameters) or "no parameters"
            sys.stderr.write(f"{file}: template {draft.name} ({open_places}) is well formed\n")
    raise typer.Exit(code)


@app.command()
@flat
def render(
    template: Ref,
    urls: Urls = None,
    *,
    param: Params = None,
    version: Version = None,
    asked: SpecOptions,
    common: Common,
) -> None:
    """Show the whole spec that a job would have, and where each value comes from.

    crawlyard templates render news -p start_url=https://example.org
    crawlyard templates render news -p start_url=https://example.org --max-pages 10 --json
    """
    overrides = form_of(read_seeds(urls or ()), asked)
    doing = partial(reports.render, ref=template, overrides=overrides, version=version)
    invoke.run(common, partial(doing, params=params_of(param or ()), common=common))


@app.command()
@flat
def publish(template: Ref, *, yes: Yes = False, common: Common) -> None:
    """Let others see and use a template, from a version on that has no credentials.

    crawlyard templates publish news
    crawlyard templates publish news --yes --json

    Your schedules that use the credentials keep them as values of their own; the command
    lists them and asks first.
    """
    doing = partial(actions.publish, ref=template, yes=yes, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def unpublish(template: Ref, *, common: Common) -> None:
    """Let nobody else see or use a template any more.

    crawlyard templates unpublish news
    crawlyard templates unpublish news --json
    """
    invoke.run(common, partial(actions.unpublish, ref=template, common=common))


@app.command()
@flat
def duplicate(
    template: Ref, *, name: NewName = None, version: Version = None, common: Common
) -> None:
    """Make a private template of your own that says the same.

    crawlyard templates duplicate ada/news --name news
    crawlyard templates duplicate news --version 2
    """
    doing = partial(actions.duplicate, ref=template, name=name, version=version, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def versions(template: Ref, *, common: Common) -> None:
    """List the versions of a template, the newest first.

    crawlyard templates versions news
    crawlyard templates versions news -o jsonl
    """
    invoke.run(common, partial(reports.versions, ref=template, common=common))


@app.command()
@flat
def restore(template: Ref, version: Number, *, common: Common) -> None:
    """Make what an earlier version said the next one.

    crawlyard templates restore news 2
    crawlyard templates versions news && crawlyard templates restore news 5
    """
    doing = partial(actions.restore, ref=template, version=version, common=common)
    invoke.run(common, doing)


@app.command("import")
@flat
def import_(files: Files, *, update: Update = False, common: Common) -> None:
    """Make templates of files.

    crawlyard templates import news.yaml docs.json
    crawlyard templates import --update news.yaml
    """
    doing = partial(actions.take_in, paths=files, update=update, common=common)
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def export(
    template: Ref,
    *,
    version: Version = None,
    out: Out = "-",
    format: OutFormat = None,  # noqa: A002 - the name of the option
    basics: Basics,
) -> None:
    """Write the file of a template, credentials and all.

    crawlyard templates export news --out news.yaml
    crawlyard templates export news --version 2 --format json | jq .spec
    """
    doing = partial(reports.export, ref=template, version=version, out=out, form=format)
    invoke.run(basics, doing)


@app.command()
@flat
def delete(templates: Refs, *, yes: Yes = False, basics: Basics) -> None:
    """Delete templates with all their versions; their jobs stay.

    crawlyard templates delete news
    crawlyard templates list --mine --query trial -q | xargs crawlyard templates delete --yes
    """
    invoke.run(basics, partial(actions.delete, refs=templates, yes=yes))
