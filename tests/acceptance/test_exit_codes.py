"""What went wrong is told by the exit code, alike here and over HTTP; stdout is empty then."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.acceptance.conftest import BOTH
from tests.acceptance.shell import Shell
from tests.golden import Told, built, in_turn
from tests.golden_yard import BROKEN, DOCS, HELD, LATER, SHOP, TRIAL, fixed

docs, broken, trial, held = map(fixed, (DOCS, BROKEN, TRIAL, HELD))
AGAIN = "templates create news {{start}} --param start:url"

CODES: Mapping[str, int] = {
    "jobs list --state failed --tag none": 0,
    "jobs list -o csv": 0,
    f"jobs watch {docs}": 0,
    f"jobs wait {held}": 0,
    "health": 0,
    # 1: it failed
    f"jobs export {docs} --out no/pages.csv": 1,
    f"jobs cancel {docs} no-such-id": 1,  # each for another reason
    # 2: it cannot be asked like that
    "jobs list --no-such-option": 2,
    "jobs show": 2,
    "jobs list --fields id,colour": 2,
    "jobs list --fields state.name": 2,
    "jobs list --fields id -q": 2,
    f"jobs set {held} limits.pages=0": 2,
    f"jobs delete {docs}": 2,  # no terminal to ask on
    "jobs show 0": 2,  # there are many
    "stats --since 1000d": 2,
    "users create a/b": 2,
    # 3: there is no such thing
    "jobs pause no-such-id": 3,
    "templates show nothing": 3,
    "schedules run nothing": 3,
    "webhooks show 99999999": 3,
    "workers forget nobody": 3,
    "hosts show nowhere.example": 3,
    "ops show nothing": 3,
    "tokens revoke nothing": 3,
    "users set nobody --role admin": 3,
    # 5: it is not in that state, or somebody was faster
    f"jobs pause {docs}": 5,
    f"jobs pause {docs} --json": 5,
    f"jobs exclude {docs} */print/*": 5,
    f"jobs retry {trial} --failed": 5,
    AGAIN: 5,
    "users create ada": 5,
    # how a job ended that was waited for
    f"jobs watch {broken}": 10,
    f"jobs wait {docs} {broken}": 10,
    f"jobs watch {trial}": 11,
    f"jobs wait {trial}": 11,
    f"jobs wait {fixed(LATER)} --timeout 1s": 124,
    f"jobs wait {fixed(SHOP)} --timeout 1s": 124,
}
"""Commands on the yard of `tests.golden_yard`; they change nothing of it."""


@pytest.fixture(scope="module", params=BOTH)
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Told]:
    yard = built(tmp_path_factory.mktemp("codes"))
    commands = [words.split() for words in CODES]
    if request.param == "local":
        told = in_turn(yard.shell, commands)
    else:
        with yard.served() as shell:
            told = in_turn(shell, commands)
    return dict(zip(CODES, told, strict=True))


@pytest.mark.parametrize("words", CODES)
def test_each_end_has_its_code(ran: Mapping[str, Told], words: str) -> None:
    told = ran[words]

    assert told.code == CODES[words], told.err
    assert "Traceback" not in told.err
    assert "a bug in" not in told.err
    if 0 < told.code < 10:
        assert told.out == ""
        assert told.err.startswith("error: ")


def test_who_is_not_known_or_not_allowed_has_a_code(shell: Shell) -> None:
    open_to_all = shell.fresh.run("serve", "--host", "0.0.0.0", "--port", "0")

    assert (open_to_all.returncode, open_to_all.stdout) == (4, "")
    assert "tokens create" in open_to_all.stderr


@contextmanager
def answering(status: int, code: str, **headers: str) -> Iterator[str]:
    """Yield the URL of a server that answers everything with one problem."""
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
def test_what_a_server_refuses_has_a_code(
    shell: Shell, status: int, problem: str, code: int
) -> None:
    with answering(status, problem, Retry_After="3600") as url:
        env = {"CRAWLYARD_SERVER": url, "CRAWLYARD_TOKEN": "cyt_x"}
        ran = shell.fresh.run("jobs", "list", "--json", env=env)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr == "error: not now\n"
