"""Which token proves to a server who asks: given by the environment, or kept by `login`."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from crawlyard.client.transport import token_given
from crawlyard.errors import Invalid, Unauthenticated

_OURS_ALONE = 0o600


def token_for(url: str) -> str:
    """Return the token for the server at *url*.

    Raises:
        Unauthenticated: there is none.
    """
    token = token_given() or kept().get(_key(url), "")
    if not token:
        raise Unauthenticated(f"no token for {url}: sign in by `crawlyard login {url}`")
    return token


def config_file() -> Path:
    """Return where logins are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "crawlyard" / "config.toml"


def kept() -> dict[str, str]:
    """Return the tokens that are kept, by the URLs of their servers.

    Raises:
        Invalid: the file cannot be read, or is no TOML.
    """
    file = config_file()
    try:
        found: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Invalid(str(file), f"cannot be read: {error}") from None
    servers = found.get("servers", {})
    if not isinstance(servers, dict):
        raise Invalid(str(file), "expected a table of servers")
    return {url: str(told["token"]) for url, told in servers.items() if "token" in told}


def keep(url: str, token: str) -> None:
    """Keep the token for a server, in a file that nobody else may read."""
    _write(kept() | {_key(url): token})


def forget(url: str) -> bool:
    """Forget the token for a server; tell whether there was one."""
    tokens = kept()
    if tokens.pop(_key(url), None) is None:
        return False
    _write(tokens)
    return True


def _write(tokens: dict[str, str]) -> None:
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    # a JSON string is a basic string of TOML as well
    tables = [f"[servers.{json.dumps(u)}]\ntoken = {json.dumps(t)}\n" for u, t in tokens.items()]
    new = file.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OURS_ALONE)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, _OURS_ALONE)
        out.write("\n".join(tables))
    new.replace(file)


def _key(url: str) -> str:
    return url.rstrip("/")
