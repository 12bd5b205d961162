"""`crawlyard templates …`: keep crawls under a name, with open places, in versions."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.jobs.crawl_options import SpecOptions, form_of
from crawlyard.cli.options import Basics, Common, flag, flat, option
from crawlyard.cli.stdin_args import read_seeds
from crawlyard.cli.stdout import write_line
from crawlyard.cli.templates import template_files
from crawlyard.cli.templates.template_options import (
    TEMPLATE,
    Filling,
    Params,
    Ref,
    Version,
    Yes,
    parameter_of,
    params_of,
)
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.lazy import lazily
from crawlyard.store.queries import TemplateQuery

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.templates import template_actions, template_reports, template_use
else:
    invoke, template_use = (
        lazily("crawlyard.cli.invoke"),
        lazily("crawlyard.cli.templates.template_use"),
    )
    template_actions = lazily("crawlyard.cli.templates.template_actions")
    template_reports = lazily("crawlyard.cli.templates.template_reports")

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
    asked = TemplateQuery(text=query, public=True if public else None)
    doing = partial(template_reports.templates, query=asked, mine=mine, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(template_reports.no_templates, common))


@app.command()
@flat
def show(template: Ref, *, version: Version = None, common: Common) -> None:
    """Show all there is to know of one template; credentials are hidden.

    crawlyard templates show news
    crawlyard templates show ada/news --version 3 --json
    """
    invoke.run(
        common, partial(template_reports.template, ref=template, version=version, common=common)
    )


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
    doing = partial(template_actions.create, draft=draft, common=common)
    invoke.run(common, doing, creates=True)


app.command("edit")(template_files.edit)
app.command("validate")(template_files.validate)


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
    filling = Filling(
        ref=template,
        params=params_of(param or ()),
        overrides=form_of(read_seeds(urls or ()), asked),
        version=version,
    )
    invoke.run(common, partial(template_use.render, filling=filling, common=common))


@app.command()
@flat
def publish(template: Ref, *, yes: Yes = False, common: Common) -> None:
    """Let others see and use a template, from a version on that has no credentials.

    crawlyard templates publish news
    crawlyard templates publish news --yes --json

    Your schedules that use the credentials keep them as values of their own; the command
    lists them and asks first.
    """
    doing = partial(template_actions.publish, ref=template, yes=yes, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def unpublish(template: Ref, *, common: Common) -> None:
    """Let nobody else see or use a template any more.

    crawlyard templates unpublish news
    crawlyard templates unpublish news --json
    """
    invoke.run(common, partial(template_actions.unpublish, ref=template, common=common))


@app.command()
@flat
def duplicate(
    template: Ref, *, name: NewName = None, version: Version = None, common: Common
) -> None:
    """Make a private template of your own that says the same.

    crawlyard templates duplicate ada/news --name news
    crawlyard templates duplicate news --version 2
    """
    doing = partial(
        template_actions.duplicate, ref=template, name=name, version=version, common=common
    )
    invoke.run(common, doing)


@app.command()
@flat
def versions(template: Ref, *, common: Common) -> None:
    """List the versions of a template, the newest first.

    crawlyard templates versions news
    crawlyard templates versions news -o jsonl
    """
    invoke.run(common, partial(template_reports.versions, ref=template, common=common))


@app.command()
@flat
def restore(template: Ref, version: Number, *, common: Common) -> None:
    """Make what an earlier version said the next one.

    crawlyard templates restore news 2
    crawlyard templates versions news && crawlyard templates restore news 5
    """
    doing = partial(template_actions.restore, ref=template, version=version, common=common)
    invoke.run(common, doing)


app.command("import")(template_files.import_)
app.command("export")(template_files.export)


@app.command()
@flat
def delete(templates: Refs, *, yes: Yes = False, basics: Basics) -> None:
    """Delete templates with all their versions; their jobs stay.

    crawlyard templates delete news
    crawlyard templates list --mine --query trial -q | xargs crawlyard templates delete --yes
    """
    invoke.run(basics, partial(template_actions.delete, refs=templates, yes=yes))
