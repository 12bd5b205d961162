"""Site logins on the command line: their syntax, and references to secrets."""

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Struct

from crawlyard.cli.options import option
from crawlyard.core.access.logged_out import MAX_SESSION_NAME
from crawlyard.core.access.site_session import MAX_COOKIES_BYTES, LoginKind
from crawlyard.core.fields import Panel
from crawlyard.errors import Invalid

_ENV, _FILE = "env:", "file:"
_WORDS = "basic:USER, bearer, cookies:FILE or form:URL"

SecretRef = Annotated[
    str, option(str, "--secret", "REF", "Secret: env:NAME or file:PATH; default: prompt.")
]


class LoginMethod(Struct, frozen=True, kw_only=True):
    """A login as written on the command line."""

    kind: LoginKind
    url: str = ""  # of a form
    user: str = ""
    file: str = ""  # of cookies

    @classmethod
    def of(cls, word: str) -> "LoginMethod":
        """Return the login that *word* describes.

        Raises:
            ValueError: it has no valid form.
        """
        kind, _, rest = word.partition(":")
        if kind == LoginKind.BEARER and not rest:
            return cls(kind=LoginKind.BEARER)
        if kind == LoginKind.BASIC and rest:
            user, colon, _ = rest.partition(":")
            if colon:  # other users can see passwords in the list of processes
                raise ValueError("expected basic:USER only; pass the password with --secret")
            return cls(kind=LoginKind.BASIC, user=user)
        if kind == LoginKind.COOKIES and rest:
            return cls(kind=LoginKind.COOKIES, file=rest)
        if kind == LoginKind.FORM and rest:
            return cls(kind=LoginKind.FORM, url=rest)
        raise ValueError(f"expected {_WORDS}, got {kind + ':…' if rest else word!r}")


LOGIN_LABELS = {
    "url": "--login",
    "user": "--login-user",
    "secret": "--login-secret",
    "fields": "--login-field",
    "submit": "--login-submit",
}
"""Options of `crawl` by field of a login."""


class LoginOptions(Struct, frozen=True, kw_only=True):
    """Options of `crawl` for a login, which creates the session of the crawl."""

    login: Annotated[
        LoginMethod | None,
        option(LoginMethod.of, "--login", "HOW", f"Log in to the site: {_WORDS}.", Panel.ACCESS),
    ] = None
    login_user: Annotated[
        str, option(str, "--login-user", "NAME", "User name for the login form.", Panel.ACCESS)
    ] = ""
    login_secret: Annotated[
        str,
        option(
            str,
            "--login-secret",
            "REF",
            "Password or token: env:NAME or file:PATH; default: prompt.",
            Panel.ACCESS,
        ),
    ] = ""
    login_field: Annotated[
        list[str] | None,
        option(
            str,
            "--login-field",
            "N=V",
            "Another field of the login form. Repeatable.",
            Panel.ACCESS,
        ),
    ] = None
    login_submit: Annotated[
        str,
        option(
            str,
            "--login-submit",
            "CSS",
            "CSS selector of the form or its button, if ambiguous.",
            Panel.ACCESS,
        ),
    ] = ""

    def arguments(self, url: str) -> dict[str, Any]:
        """Return the arguments of `sessions.login`; *url* is a URL of the site.

        Raises:
            Invalid: a secret cannot be read.
        """
        if self.login is None:
            raise Invalid("--login", f"expected {_WORDS}")
        return login_arguments(
            self.login,
            url=url,
            user=self.login_user,
            secret=self.login_secret,
            fields=self.login_field or (),
            submit=self.login_submit,
            flag="--login-secret",
        )


def login_arguments(
    login: LoginMethod,
    *,
    url: str,
    user: str,
    secret: str,
    fields: Sequence[str],
    submit: str,
    flag: str = "--secret",
) -> dict[str, Any]:
    """Return the arguments of `sessions.login`, with references replaced by secrets.

    Raises:
        Invalid: a reference is invalid, or there is no terminal to prompt for a secret.
    """
    arguments: dict[str, Any] = {"kind": login.kind, "url": login.url or url}
    if login.kind is LoginKind.COOKIES:
        return arguments | {"cookies": _text_of(login.file, "--login"), "url": url}
    arguments |= {"user": login.user or user}
    values = dict(_field(word) for word in fields)
    if login.kind is LoginKind.FORM:
        arguments |= {"fields": values, "submit": submit}
    if secret:
        arguments["secret"] = _read_secret(secret, flag)
    elif not values or login.kind is not LoginKind.FORM:
        arguments["secret"] = _prompt_secret(arguments["user"] or login.kind, flag)
    return arguments


def session_name_for(url: str) -> str:
    """Return the default name of the session of a site: that of its host."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in host)
    return plain.strip("._-")[:MAX_SESSION_NAME] or "site"


def _field(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise Invalid("--field", "expected NAME=VALUE; VALUE may be env:NAME or file:PATH")
    return name, _read_secret(value, "--field") if value.startswith((_ENV, _FILE)) else value


def _read_secret(reference: str, flag: str) -> str:
    """Return the secret that a reference names."""
    if reference.startswith(_ENV):
        name = reference.removeprefix(_ENV)
        value = os.environ.get(name, "")
        if not value:
            raise Invalid(flag, f"the variable {name} is not set or empty")
        return value
    if reference.startswith(_FILE):
        return _text_of(reference.removeprefix(_FILE), flag).rstrip("\r\n")
    raise Invalid(flag, "expected env:NAME or file:PATH: other users can see command lines")


def _text_of(path: str, flag: str) -> str:
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(MAX_COOKIES_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(flag, f"{path}: {why}") from None
    if len(text) > MAX_COOKIES_BYTES:
        raise Invalid(flag, f"{path} is larger than {MAX_COOKIES_BYTES >> 20} MiB")
    return text


def _prompt_secret(prompt: str, flag: str) -> str:
    if not sys.stdin.isatty():
        raise Invalid(flag, "expected env:NAME or file:PATH, as there is no terminal to prompt on")
    return getpass.getpass(f"Secret for {prompt}: ")
