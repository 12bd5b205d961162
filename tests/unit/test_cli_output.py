"""Output of commands: formats, columns, the last line of a crawl, exit codes."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from rich.console import Console

from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.jobs import views
from crawlyard.cli.jobs.summary import exit_code, hints, scripts_needed, sentence
from crawlyard.cli.jobs.views import jobs_view
from crawlyard.cli.options import Common, Style
from crawlyard.cli.render import output
from crawlyard.cli.render.job_display import LineDisplay, fraction, outlook, panel, time_left
from crawlyard.cli.render.output import Screen
from crawlyard.cli.session import Session
from crawlyard.clock import SystemClock
from crawlyard.core.answer import as_dict, encode_answer
from crawlyard.core.crawl.page import ErrorGroup, ErrorKind, PageError
from crawlyard.core.crawl.page_answers import ErrorGroupOut, PageOut
from crawlyard.core.jobs.answers import (
    EtaOut,
    JobOut,
    SpecOut,
    UsageOut,
    WaitOut,
)
from crawlyard.core.jobs.job import Shard, Standing
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.progress import Confidence, progress_of
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.waiting import Wait, WaitReason
from crawlyard.core.templates.secrets import HIDDEN
from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    StoreUnavailable,
)
from tests.builders import NOW, a_job, a_page, a_spec
from tests.program import PROGRAM, walk

RUNNING = Shard(
    usage=Usage(
        pages=200,
        bytes=6_100_000,
        duration_s=24,
        errors=2,
        discovered=400,
        done=210,
    ),
    pulse=Pulse(rate=20, pages_rate=20, bytes_rate=6e5, samples=9, spread=2),
    current_url="https://example.com/\x1b[31m",
)


def job_out(
    state: State = State.RUNNING,
    reason: StateReason = StateReason.CRAWLING,
    shard: Shard = RUNNING,
    **spec: Any,
) -> JobOut:
    job = a_job(spec=a_spec(**spec), state=state, state_reason=reason)
    progress = progress_of(job.limits, shard.usage, shard.pulse, state, shard.current_url)
    return JobOut.of(Standing(job=job, shard=shard), progress, NOW)


def drawn(show: Callable[[Console], object], width: int = 80) -> str:
    """Return what *show* writes on a terminal without colours."""
    file = io.StringIO()
    show(Console(file=file, width=width, no_color=True, highlight=False))
    return file.getvalue()


def test_a_spec_goes_out_whole() -> None:
    assert SpecOut.__struct_fields__ == JobSpec.__struct_fields__


def test_instants_and_durations_go_out_as_the_api_says() -> None:
    out = as_dict(job_out(limits=Limits(duration_s=7200)))

    assert out["created_at"] == "2026-01-02T03:04:05.678Z"
    assert out["spec"]["limits"] == {
        "pages": None,
        "bytes": None,
        "duration_s": 7200.0,
        "errors": None,
        "render_s": None,
    }
    assert UsageOut.filled(Usage(duration_s=1 / 3)).duration_s == 0.333
    assert out["progress"]["eta"]["limit"] is None
    assert out["progress"]["elapsed_s"] == 24.0


def test_credentials_do_not_go_out() -> None:
    out = job_out(headers=(("Authorization", "Bearer x"), ("X-Api-Key", "y"), ("Accept", "text/*")))

    assert list(map(tuple, out.spec.headers)) == [
        ("Authorization", HIDDEN),
        ("X-Api-Key", HIDDEN),
        ("Accept", "text/*"),
    ]


def test_half_characters_do_not_stop_a_record() -> None:
    out = PageOut.of(a_page(title="a\ud800b", extracted={"x": ("\udfff",)}), text="t\ud800")

    record = as_dict(out)
    assert (record["title"], record["text"], record["extracted"]["x"]) == (
        "a\ufffdb",
        "t\ufffd",
        ["\ufffd"],
    )
    assert json.loads(encode_answer(out))["title"] == "a\ufffdb"


def a_screen(width: int) -> Screen:
    screen = Screen(sys.stdout)
    screen.console = Console(width=width, no_color=True, highlight=False)
    return screen


async def render(
    style: Style,
    capsysbinary: pytest.CaptureFixture[bytes],
    *,
    quiet: bool = False,
    width: int = 80,
) -> str:
    pages = [
        PageOut.of(a_page(title="tab\there \x1b[31m [bold]", bytes=1234)),
        PageOut.of(a_page(title="ü", status=None, error=PageError(kind=ErrorKind.DNS))),
    ]
    out = a_screen(width)
    await output.write_all(pages, views.PAGES, style, out, Common(quiet=quiet))
    return capsysbinary.readouterr().out.decode()


async def test_plain_output_has_no_header_and_one_line_each(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert await render(Style.PLAIN, capsysbinary) == (
        "200\t\t0\t1234\t0\thttps://example.com/\ttab\\there \\x1b[31m [bold]\n"
        "\tdns\t0\t1000\t0\thttps://example.com/\tü\n"
    )


async def test_csv_output_has_a_header(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = (await render(Style.CSV, capsysbinary)).split("\r\n")

    assert lines[0] == "status,error,depth,bytes,time,url,title"
    assert lines[2] == ",dns,0,1000,0,https://example.com/,ü"


async def test_a_table_fits_the_terminal_and_interprets_nothing(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    for width in (60, 80, 130):
        lines = (await render(Style.TABLE, capsysbinary, width=width)).splitlines()

        assert lines[0].split()[:2] == ["STATUS", "ERROR"]
        assert all(len(line) <= width for line in lines)
        assert "\x1b" not in "".join(lines)
    assert "[bold]" in lines[1]


async def test_a_terminal_too_narrow_for_a_table_gets_a_field_a_line(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    name = "the documentation of a product, nightly"
    url = "https://docs.example.org/a/page/far/down"
    job = job_out(name=name)
    group = ErrorGroup(
        kind=ErrorKind.TIMEOUT, count=1_234, samples=(url,), first_at=NOW, last_at=NOW
    )
    error = PageError(kind=ErrorKind.BAD_REDIRECT)
    lists: list[tuple[Any, Any, set[str]]] = [
        (job, views.jobs_view(NOW), {job.id[-8:], name, "running"}),
        (PageOut.of(a_page(url=url, error=error)), views.PAGES, {url}),
        (ErrorGroupOut.filled(group), views.errors_view(NOW), {"timed out", "1,234", url}),
    ]
    for item, view, lines in lists:
        out = a_screen(30)
        await output.write_all([item, item], view, Style.TABLE, out, Common())
        written = capsysbinary.readouterr().out.decode()

        assert all(len(line) <= 30 for line in written.splitlines())
        first, second = written.split("\n\n")
        assert first.strip() == second.strip()
        for text_line in lines:
            assert text_line.replace(" ", "") in "".join(first.split())


async def test_json_output_is_an_array_and_jsonl_a_line_each(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    array = await render(Style.JSON, capsysbinary)
    lines = await render(Style.JSONL, capsysbinary)

    assert array.startswith('[\n  {\n    "url": "https://example.com/",\n')
    assert array.endswith("\n  }\n]\n")
    assert "\x1b" not in array
    assert len(lines.splitlines()) == 2


async def test_quiet_output_is_ids_alone(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert await render(Style.JSON, capsysbinary, quiet=True) == "https://example.com/\n" * 2


@pytest.mark.parametrize("style", Style)
async def test_nothing_is_written_as_nothing(
    style: Style, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    await output.write_all([], views.SKIPPED, style, a_screen(80), Common())

    expected = {Style.JSON: b"[]\n", Style.YAML: b"[]\n", Style.CSV: b"rule,depth,url\r\n"}
    assert capsysbinary.readouterr().out == expected.get(style, b"")


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (State.COMPLETED, StateReason.EXHAUSTED, 0),
        (State.COMPLETED, StateReason.LIMIT_PAGES, 0),
        (State.COMPLETED, StateReason.LIMIT_ERRORS, 12),
        (State.FAILED, StateReason.START_FAILED, 10),
        (State.CANCELLED, StateReason.BY_USER, 11),
        (State.PAUSED, StateReason.BY_USER, 0),
        (State.PAUSED, StateReason.DISK_FULL, 1),
    ],
)
def test_the_exit_code_tells_how_a_job_ended(state: State, reason: StateReason, code: int) -> None:
    assert exit_code(job_out(state, reason)) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("pages", "expected more"), 2),
        (NotFound("x"), 3),
        (Forbidden("x"), 4),
        (IllegalMove("x"), 5),
        (Conflict("x"), 5),
        (StoreUnavailable("x"), 6),
        (CrawlyardError("x"), 1),
        (OSError(28, "No space left on device", "a.csv"), 1),
        (ValueError("x"), 1),
    ],
)
def test_the_exit_code_tells_what_went_wrong(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_an_error_is_a_sentence_and_what_can_be_done() -> None:
    error = IllegalMove(
        "cannot pause a job that is\x1b completed", [Move.RESUME, Move.RETRY_FAILED]
    )

    assert failure_lines(error, "job 1") == [
        "error: job 1: cannot pause a job that is\\x1b completed",
        "  you can: resume, retry --failed",
    ]
    assert failure_lines(IllegalMove("no", ["pause", "retry"]))[1:] == [
        "  you can: pause, retry --now"  # as a server names what a job that waits allows
    ]
    assert failure_lines(IllegalMove("no", ["resume", "retry"]))[1:] == ["  you can: resume, retry"]
    assert failure_lines(OSError(28, "No space left on device", "a.csv")) == [
        "error: cannot write a.csv: No space left on device"
    ]


def test_the_last_line_of_a_crawl_says_it_all() -> None:
    groups = [
        ErrorGroupOut.filled(ErrorGroup(kind=kind, count=1, first_at=NOW, last_at=NOW))
        for kind in (ErrorKind.TIMEOUT, ErrorKind.HTTP_4XX)
    ]
    job = job_out(State.COMPLETED, StateReason.LIMIT_PAGES)

    assert sentence(job, groups, "pages.jsonl 6.1 MB") == (
        "stopped at its page limit: 210 of 400 found in 24 s · 200 pages, 6.1 MB"
        ", 2 failed (1 timed out, 1 refused by the server (4xx)) · pages.jsonl 6.1 MB"
    )


def test_a_limit_that_was_met_with_the_last_url_stopped_nothing() -> None:
    whole = Shard(usage=replace(RUNNING.usage, done=RUNNING.usage.discovered))

    assert job_out(State.COMPLETED, StateReason.LIMIT_PAGES, whole).outcome == "Completed"
    assert job_out(State.FAILED, StateReason.LIMIT_PAGES).outcome == "Failed"
    assert job_out().outcome == ""


def test_a_crawl_ends_with_how_many_pages_need_scripts() -> None:
    assert scripts_needed(1) == ("1 page needs scripts; its text is empty or partial")
    assert scripts_needed(1_200) == ("1,200 pages need scripts; their text is empty or partial")


def test_a_job_that_has_ended_comes_with_the_commands_that_make_sense_next() -> None:
    nobody: Any = None
    screen = Screen(io.StringIO())
    session = Session(
        surface=nobody,
        ready=nobody,
        clock=SystemClock(),
        instance_options=" --data-dir y",
        stdout=screen,
        stderr=screen,
    )

    def commands_of(**usage: int) -> list[str]:
        job = job_out(State.COMPLETED, StateReason.EXHAUSTED)
        used = replace(job.usage, **({"errors": 0, "needs_scripts": 0} | usage))
        lines = hints(session, replace(job, usage=used))
        return [line.replace(job.id, "ID") for line in lines]

    scripts = f"{scripts_needed(3)}: crawlyard jobs pages ID --needs-scripts --data-dir y"
    again = "retry the failed URLs: crawlyard jobs retry ID --failed --data-dir y"
    assert commands_of() == []
    assert commands_of(errors=2) == [again]
    assert commands_of(needs_scripts=3) == [scripts]
    assert commands_of(errors=1, needs_scripts=3) == [scripts, again]


def test_the_live_display_fits_and_is_safe() -> None:
    job = job_out(limits=Limits(pages=500), name="x" * 200)

    lines = drawn(lambda console: console.print(panel(job, "*"))).splitlines()

    assert len(lines) == 4
    assert all(len(line) <= 80 for line in lines)
    assert "210/400 URLs · 2 failed · 20.0/s · 6.1 MB · 24 s" in lines[1]
    assert "left" in lines[2]
    assert lines[3].strip() == "https://example.com/\\x1b[31m"


def test_the_limit_in_sight_is_named() -> None:
    assert outlook(job_out(limits=Limits(pages=260)))[1] == "then the limit of 260 pages"
    assert outlook(job_out(limits=Limits(pages=9000)))[1] == "limits: 9,000 pages"
    assert outlook(job_out())[0].endswith("left")


def test_the_time_left_is_a_range() -> None:
    eta = EtaOut(p10_s=9.6, p50_s=12.0, p90_s=19.2, confidence=Confidence.HIGH, limit=None)
    job = job_out()
    job = replace(job, progress=replace(job.progress, eta=eta))

    assert time_left(job) == "9\u201320 s"
    assert outlook(job) == ["9\u201320 s left"]


def test_before_a_url_is_done_the_time_left_is_being_estimated() -> None:
    begun = job_out(shard=Shard(usage=Usage(discovered=1, duration_s=1)))

    assert outlook(begun) == ["time left: estimating… (no URL finished yet)"]


def test_the_bar_follows_what_ends_first() -> None:
    assert fraction(job_out()) == pytest.approx(210 / 400)
    assert fraction(job_out(limits=Limits(pages=250))) == pytest.approx(200 / 250)
    assert fraction(job_out(shard=Shard())) == 0


def test_lines_come_with_a_change_or_every_ten_seconds() -> None:
    file, seconds = io.StringIO(), [0.0]
    lines = LineDisplay(Screen(file).say, lambda: seconds[0])
    running = job_out()
    for at in (0.0, 0.5, 9.5, 10.0, 11.0):
        seconds[0] = at
        lines.show(running)
    lines.show(replace(running, state="paused", state_reason="by_user"))

    words = [line.split(" · ")[0] for line in file.getvalue().splitlines()]
    assert words == ["running", "running", "paused"]


COMMANDS = dict(walk())  # with the groups of commands


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_narrow_and_begins_with_examples(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    result = CliRunner().invoke(PROGRAM, [*command, "--help"], prog_name="crawlyard")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    begin = " ".join(("crawlyard", *command))
    examples = [line for line in lines if line.strip().startswith("crawlyard ")]
    assert any(begin in line for line in examples)
    assert lines.index(examples[0]) < next(n for n, line in enumerate(lines) if "Options" in line)
    if not hasattr(COMMANDS[command], "commands"):
        result = CliRunner().invoke(PROGRAM, [*command, "--help-all"], prog_name="crawlyard")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    options = [name for option in COMMANDS[command].params for name in option.opts]
    assert [name for name in options if name.startswith("-") and name not in result.stdout] == []


def test_help_of_a_large_command_has_eight_options_and_one_example() -> None:
    for words, command in COMMANDS.items():
        options = [option for option in command.params if option.opts[0].startswith("-")]
        text = CliRunner().invoke(PROGRAM, [*words, "--help"], prog_name="crawlyard").stdout
        if len(options) <= 20:
            assert "more options" not in text, words
            continue
        names = [name for option in options for name in option.opts[:1] if f" {name} " in text]
        assert len(names) <= 8, words
        path = " ".join(["crawlyard", *words])
        assert f"{len(options) - len(names)} more options: {path} --help-all" in text
        assert text.count(path) == 3, words  # of usage, example and hint


OPTIONS = """
    max-pages max-duration max-bytes max-errors max-depth delay per-host concurrency scope
    include exclude strategy sitemap ignore-robots allow-address allow-private user-agent
    header timeout max-body extract text keep priority name tag out format data-dir json
    quiet detach
"""


def test_crawl_has_the_options_it_promised() -> None:
    result = CliRunner().invoke(PROGRAM, ["crawl", "--help-all"])

    assert [name for name in OPTIONS.split() if f" --{name} " not in result.stdout] == []


def test_a_sentence_to_a_file_is_a_line_as_it_is() -> None:
    file = io.StringIO()
    sentence = f"https://example.org/:smile:/[b]{'x' * 200}"

    Screen(file).say(sentence)

    assert file.getvalue() == f"{sentence}\n"


def test_a_damaged_job_is_shown_as_damaged_and_waits_for_nothing() -> None:
    job = job_out(State.PENDING, StateReason.WAITING_SLOT)
    waits = [WaitOut.filled(Wait(reason=WaitReason.QUEUE, detail="next in the queue", position=1))]
    damaged = replace(job, damaged="spec: x", waits_for=waits)
    facts = dict(jobs_view(NOW).facts(damaged))
    listed = {column.name: column.value(damaged) for column in jobs_view(NOW).list_columns}

    assert listed["STATE"] == "damaged"
    assert (facts["state"], "waits for" in facts) == ("damaged", False)
