"""`crawlyard templates edit | validate | import | export`: templates as files."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.options import Basics, Common, choice, flag, flat, option
from crawlyard.cli.templates.template_options import Ref, Version
from crawlyard.core.templates.template import FileFormat
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.templates import template_actions, template_reports, template_words
else:
    invoke, template_words = (
        lazily("crawlyard.cli.invoke"),
        lazily("crawlyard.cli.templates.template_words"),
    )
    template_actions = lazily("crawlyard.cli.templates.template_actions")
    template_reports = lazily("crawlyard.cli.templates.template_reports")

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="YAML or JSON; '-' is stdin.", show_default=False),
]
File = Annotated[
    str, option(str, "--file", "FILE", "Take it from this YAML or JSON; '-' is stdin.")
]
NewName = Annotated[str | None, option(values.line, "--name", "TEXT", "Another name.")]
About = Annotated[str | None, option(str, "--description", "TEXT", "What it is for.")]
Update = Annotated[
    bool, flag("--update", text="Where there is one of that name, make its next version.")
]
Out = Annotated[str, option(str, "--out", "FILE", "Where to; '-' is stdout, and the default.")]
OutFormat = Annotated[
    FileFormat | None, choice("--format", of=FileFormat, text="Of --out, else by its suffix")
]


@flat
def edit(
    template: Ref,
    *,
    file: File = "",
    name: NewName = None,
    description: About = None,
    common: Common,
) -> None:
    """Make a next version of a template: in $EDITOR, from a file, or by an option.

    crawlyard templates edit news
    crawlyard templates edit news --file news.yaml
    crawlyard templates edit news --name headlines --description 'All front pages'
    """
    doing = partial(
        template_actions.edit,
        ref=template,
        file=file,
        name=name,
        description=description,
        common=common,
    )
    invoke.run(common, doing)


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
            draft = template_words.draft_from(file)
        except Invalid as error:
            told, code = (
                failure_lines(error, "" if file in error.field else file),
                exit_code_of(error),
            )
            sys.stderr.writelines(f"{line}\n" for line in told)
            continue
        if not basics.quiet:
            open_places = ", ".join(p.name for p in draft.parameters) or "no parameters"
            sys.stderr.write(f"{file}: template {draft.name} ({open_places}) is well formed\n")
    raise typer.Exit(code)


@flat
def import_(files: Files, *, update: Update = False, common: Common) -> None:
    """Make templates of files.

    crawlyard templates import news.yaml docs.json
    crawlyard templates import --update news.yaml
    """
    doing = partial(template_actions.take_in, files=files, update=update, common=common)
    invoke.run(common, doing, creates=True)


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
    doing = partial(template_reports.export, ref=template, version=version, out=out, form=format)
    invoke.run(basics, doing)
