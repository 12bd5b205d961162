"""Run a program with the hardening of a systemd unit that needs no systemd.

    python -m tests.confined UNIT PROGRAM ARGUMENT…

*UNIT* is JSON: the settings of the unit's [Service] section, each with all its values.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Service = Mapping[str, Sequence[str]]

# of prctl: linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_MDWE = 65  # since Linux 6.3
# of libseccomp: seccomp.h
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001


def read_service(*files: Path) -> dict[str, list[str]]:
    """Return the settings of [Service] in a unit and its drop-ins, each with all its values."""
    service: dict[str, list[str]] = {}
    for file in files:
        section = ""
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                name, _, value = line.partition("=")
                service.setdefault(name, []).append(value)
    return service


def allowed_calls(filters: Sequence[str]) -> set[str]:
    """Return the system calls that the values of ``SystemCallFilter=`` allow."""
    listed = subprocess.check_output(["systemd-analyze", "syscall-filter"], text=True)
    groups: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line, [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())

    def calls(name: str) -> Iterator[str]:
        if not name.startswith("@"):
            yield name
        for member in groups.get(name, ()):
            yield from calls(member)

    allowed = set(calls("@default"))
    for line in filters:
        named = {call for word in line.removeprefix("~").split() for call in calls(word)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def confine(service: Service) -> None:
    """Apply to this process what *service* says about privileges, memory and system calls."""
    assert service["NoNewPrivileges"] == ["yes"]
    os.umask(int(service["UMask"][0], 8))
    descriptors = int(service["LimitNOFILE"][0])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, most), most))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_EPERM)))
    for call in allowed_calls(service["SystemCallFilter"]):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # otherwise, this machine has no such call
            assert seccomp.seccomp_rule_add(rules, ctypes.c_uint32(_ALLOW), number, 0) == 0
    if service["MemoryDenyWriteExecute"][-1] == "yes":
        libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0)
    assert seccomp.seccomp_load(rules) == 0


if __name__ == "__main__":
    confine(json.loads(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
