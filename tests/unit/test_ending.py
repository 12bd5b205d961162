"""How the process of a command ends."""

import subprocess
import sys

PROGRAM = """
import atexit, sys, threading
from crawlyard.__main__ import run
from crawlyard.cli.main import main

class Loaded:
    def __del__(self):
        print("taken down")

def work():
    threading.main_thread().join()
    print("worked")

def command():
    atexit.register(print, "called")
    threading.Thread(target=work).start()
    {first}
    main()

loaded = Loaded()
sys.argv = ["crawlyard", *{words!r}]
run(command)
"""


def ended(*words: str, first: str = "pass") -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(words=words, first=first)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_what_was_loaded_is_not_taken_down() -> None:
    for words, code in [(["version"], 0), (["nope"], 2)]:
        done = ended(*words)
        assert done.returncode == code, words
        assert "taken down" not in done.stdout, words


def test_threads_are_waited_for_and_whoever_asked_for_it_is_called() -> None:
    done = ended("version")
    told = done.stdout.splitlines()
    assert told[0].startswith("crawlyard ")
    assert told[1:] == ["worked", "called"]


def test_an_error_that_nobody_caught_is_told_by_python() -> None:
    done = ended("version", first="raise MemoryError")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    assert "taken down" in done.stdout
