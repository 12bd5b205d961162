"""Exit codes of failed commands, the same locally and over HTTP; stdout is empty then."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.acceptance.conftest import BOTH
from tests.acceptance.shell import Shell
from tests.golden import CommandResult, built, in_turn
from tests.golden_yard import BROKEN, DOCS, HELD, LATER, SHOP, TRIAL, fixed

docs_job, broken_job, trial_job, held_job = map(fixed, (DOCS, BROKEN, TRIAL, HELD))
AGAIN = "templates create news {{start}} --param start:url"

CODES: Mapping[str, int] = {
    "jobs list --state failed --tag none": 0,
    "jobs list -o csv": 0,
    f"jobs watch {docs_job}": 0,
    f"jobs wait {held_job}": 0,
    "health": 0,
    # 1: failure
    f"jobs export {docs_job} --out no/pages.csv": 1,
    f"jobs cancel {docs_job} no-such-id": 1,  # for two different reasons
    # 2: usage error
    "jobs list --no-such-option": 2,
    "jobs show": 2,
    "jobs list --fields id,colour": 2,
    "jobs list --fields state.name": 2,
    "jobs list --fields id -q": 2,
    f"jobs set {held_job} limits.pages=0": 2,
    f"jobs delete {docs_job}": 2,  # no terminal to ask on
    "jobs show 0": 2,  # ambiguous
    "stats --since 1000d": 2,
    "users create a/b": 2,
    # 3: not found
    "jobs pause no-such-id": 3,
    "templates show nothing": 3,
    "schedules run nothing": 3,
    "webhooks show 99999999": 3,
    "workers forget absent": 3,
    "hosts show nowhere.example": 3,
    "ops show nothing": 3,
    "tokens revoke nothing": 3,
    "users set absent --role admin": 3,
    # 5: wrong state, or a conflict with another change
    f"jobs pause {docs_job}": 5,
    f"jobs pause {docs_job} --json": 5,
    f"jobs exclude {docs_job} */print/*": 5,
    f"jobs retry {trial_job} --failed": 5,
    AGAIN: 5,
    "users create ada": 5,
    # outcome of a job that was waited for
    f"jobs watch {broken_job}": 10,
    f"jobs wait {docs_job} {broken_job}": 10,
    f"jobs watch {trial_job}": 11,
    f"jobs wait {trial_job}": 11,
    f"jobs wait {fixed(LATER)} --timeout 1s": 124,
    f"jobs wait {fixed(SHOP)} --timeout 1s": 124,
}
"""Commands on the yard of `tests.golden_yard`; none changes it."""


@pytest.fixture(scope="module", params=BOTH)
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, CommandResult]:
    yard = built(tmp_path_factory.mktemp("codes"))
    commands = [words.split() for words in CODES]
    if request.param == "local":
        results = in_turn(yard.shell, commands)
    else:
        with yard.served() as shell:
            results = in_turn(shell, commands)
    return dict(zip(CODES, results, strict=True))


@pytest.mark.parametrize("words", CODES)
def test_each_command_exits_with_its_code(ran: Mapping[str, CommandResult], words: str) -> None:
    result = ran[words]

    assert result.code == CODES[words], result.err
    assert "Traceback" not in result.err
    assert "a bug in" not in result.err
    if 0 < result.code < 10:
        assert result.out == ""
        assert result.err.startswith("error: ")


@contextmanager
def answering(status: int, code: str, **headers: str) -> Iterator[str]:
    """Yield the URL of a server that answers every request with one problem."""
    body = json.dumps({"code": code, "detail": "not now", "status": status}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "problem", "code"),
    [
        (401, "unauthenticated", 4),
        (403, "forbidden", 4),
        (409, "limit_exceeded", 5),
        (412, "precondition_failed", 5),
        (429, "rate_limited", 7),
        (500, "internal", 1),
        (503, "unavailable", 6),
        (418, "teapot", 1),
    ],
)
def test_each_problem_of_a_server_has_an_exit_code(
    shell: Shell, status: int, problem: str, code: int
) -> None:
    with answering(status, problem, Retry_After="3600") as url:
        env = {"CRAWLYARD_SERVER": url, "CRAWLYARD_TOKEN": "cyt_x"}
        ran = shell.fresh.run("jobs", "list", "--json", env=env)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr == "error: not now\n"
