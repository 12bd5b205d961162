"""Rows of host rules and robots.txt files."""

from typing import Any

from crawlyard.core.hosts.robots_file import RobotsFile
from crawlyard.core.hosts.rule import HostRule, HostState
from crawlyard.store.codec.base import Row
from crawlyard.store.codec.jobs import compressed, decompressed

_OF_RULE = tuple(n for n in HostRule.__struct_fields__ if n != "state")
_OF_FILE = tuple(n for n in RobotsFile.__struct_fields__ if n != "body")


def rule_row(rule: HostRule) -> dict[str, Any]:
    """Return all columns of a row of `host_rules`."""
    return {name: getattr(rule, name) for name in _OF_RULE} | {"state": rule.state.value}


def rule_of(row: Row) -> HostRule:
    """Return the rule of a row of `host_rules`."""
    return HostRule(**{name: row[name] for name in _OF_RULE}, state=HostState(row["state"]))


def file_row(file: RobotsFile) -> dict[str, Any]:
    """Return all columns of a row of `robots`."""
    return {name: getattr(file, name) for name in _OF_FILE} | {"body": compressed(file.body)}


def file_of(row: Row) -> RobotsFile:
    """Return the file of a row of `robots`."""
    return RobotsFile(**{name: row[name] for name in _OF_FILE}, body=decompressed(row["body"]))
