"""Advice in messages, in words of the command line: options for fields, commands for actions."""

import re
from types import MappingProxyType

OPTIONS = MappingProxyType(
    {
        "allow_addresses": "--allow-address",
        "allow_private": "--allow-private",
        "ignore_robots": "--ignore-robots",
        "keep_html": "--keep",
        "keep_links": "--keep-links",
        "text": "--text",
    }
)
"""Options of `crawl` by the fields of a spec that messages name."""

_FIELD = re.compile(r"(?<![\w.=/?&-])(allow_addresses|allow_private|ignore_robots)(?![\w=])")
_SETTING = re.compile(rf"(?<![\w.=/?&-])({'|'.join(OPTIONS)})=([^\s;,)]+)")
_WORKER = re.compile(r"(?:\btags? ([^;]+))?; start one\b")
_LOGIN = re.compile(r"\blog in to session (\S+) (?:again|first)\b")
_GRANTS = re.compile(r"in the settings \(grants: ([\w, ]+)\)")


def with_commands(message: str) -> str:
    """Return *message* of a server or a job with options and commands in place of JSON names."""
    message = _GRANTS.sub(_grant, message)  # first: its names are also those of fields
    message = _SETTING.sub(_assign, message)
    message = _FIELD.sub(lambda match: OPTIONS[match[1]], message)
    message = _WORKER.sub(_start_worker, message)
    return _LOGIN.sub(r"\g<0> (crawlyard sessions login \1)", message)


def _assign(match: re.Match[str]) -> str:
    option, value = OPTIONS[match[1]], match[2]
    if match[1] == "keep_links":
        return option if value == "true" else f"--no-{option[2:]}"
    return f"{option} {'html' if match[1] == 'keep_html' else value}"


def _start_worker(match: re.Match[str]) -> str:
    tags = match[1].split(", ") if match[1] else ()
    return f"{match[0]}: crawlyard work{''.join(f' --tag {tag}' for tag in tags)}"


def _grant(match: re.Match[str]) -> str:
    options = (f"--{name.replace('_', '-')}" for name in match[1].split(", "))
    return f"with crawlyard settings grants {' '.join(options)}"
