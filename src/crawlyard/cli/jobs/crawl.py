"""`crawlyard crawl`: submits a job and runs it to the end."""

from functools import partial
from typing import Annotated

from crawlyard.cli import invoke
from crawlyard.cli.jobs.crawl_options import (
    Output,
    SpecOptions,
    Urls,
    form_of,
)
from crawlyard.cli.options import Basics, IdempotencyKey, flag, flat, option
from crawlyard.cli.sites.logins import LOGIN_LABELS, LoginOptions
from crawlyard.cli.stdin_args import read_seeds
from crawlyard.cli.templates.options import Use
from crawlyard.cli.usage import essential
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.core.jobs.spec_json import spec_of
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# help needs none of them: 120 ms
with lazily():
    from crawlyard.cli.jobs import exports, run_and_watch
    from crawlyard.services.webhooks import receivers

FromFile = Annotated[
    str, option(str, "--from-file", "FILE", "Read start URLs from FILE, one per line.")
]
Detach = Annotated[
    bool, flag("--detach", "-d", text="Queue the job for `crawlyard work`; print its id.")
]


def _check(spec: JobSpec) -> None:
    receivers.check_job_spec(spec)  # loads the engine: only if there is an error anyway


@essential("--max-pages --max-depth --scope --exclude --delay --out --detach --server")
@flat(params="--param", **LOGIN_LABELS)
def crawl(
    *,
    urls: Urls = None,
    from_file: FromFile = "",
    detach: Detach = False,
    idempotency_key: IdempotencyKey = None,
    use: Use,
    options: SpecOptions,
    login: LoginOptions,
    output: Output,
    basics: Basics,
) -> None:
    """Crawl a site and watch it; Ctrl-C pauses without losing anything.

    crawlyard crawl https://docs.example.org --max-pages 500 --out docs.jsonl
    crawlyard crawl -d https://example.org --scope domain --exclude '*/print/*'
    crawlyard crawl https://shop.example.org --login form:https://shop.example.org/login
    crawlyard crawl --template news -p start_url=https://example.org --max-pages 50

    Options override the template: 'none' clears a limit or a list, --no-… turns off a flag.
    """
    seeds = [*(urls or ()), *(read_seeds([f"@{from_file}"]) if from_file else ())]
    form = form_of(seeds, options)
    export = exports.Export.from_options(output.out, output.format)
    if detach and export is not None:
        raise Invalid("--out", "excludes --detach; export later with `crawlyard jobs export`")
    template = use.form_terms()
    if not template:
        overrides = {name: value for name, value in form.items() if name != "since"}
        try:
            spec = spec_of(overrides, check=_check)  # reports faults before anything is opened
        except Invalid:
            if "since" not in form:
                raise  # else the submission reports them, and checks that job as well
        else:
            if export is not None:
                export.check_kept(text=spec.text is not TextMode.NONE, html=spec.keep_html)
    doing = partial(run_and_watch.crawl, form=form, template=template, login=login, export=export)
    doing = partial(doing, detach=detach, idempotency_key=idempotency_key)
    invoke.run(basics, doing, creates=True)
