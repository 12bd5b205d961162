"""Credentials in templates: removed before others see them, hidden in output."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.parse import is_list
from crawlyard.core.secret_names import is_secret
from crawlyard.core.templates.template import PLACEHOLDER, TemplateDraft, TemplateParameter

HIDDEN = "***"
"""Shown in place of a credential."""

_USERINFO = re.compile(r"(?<=://)((?:(?>\{\{[^{}]*\}\}|[^/?#\s]))*)@")
"""User and password in a URL: everything between the scheme and the last @ before the path.

A placeholder may contain whitespace.
"""

_LOGIN = re.compile(r"(?P<before>(?:[^:/?#@]*://)?)(?P<login>.*)@(?P<host>[^@]*)", re.DOTALL)
"""The URL of a proxy with a user and a password, also without a scheme or not escaped."""

_AUTHORITY = re.compile(r"://\{\{([^{}]*)\}\}")
"""A placeholder for the host of a URL, which may include a user and a password."""

_ANY = "\0"  # stands for a placeholder while the text around it is checked
_SCHEME = re.compile(
    r"\s*(?:(?:basic|bearer|token|apikey|negotiate)\s+\S+\s*$|digest\s+\w+=)", re.IGNORECASE
)
"""Beginnings of header values that are credentials, under any header name.
Source: RFC 9110, section 11.4, with the schemes of the IANA registry and two common others.
"""
_FRAME = re.compile(
    r"(?>(?:(?:basic|bearer|token|apikey|negotiate|digest)(?:\s+|$))?)"
    r'(?:(?>[;,:&\s]*)(?:[A-Za-z_][\w.-]{0,39}=)?"?\0"?)*(?>[;,:&\s]*)',
    re.IGNORECASE,
)
"""Text around placeholders for credentials: a scheme, names as in ``session={{token}}``."""


def strip_credentials(draft: TemplateDraft) -> tuple[TemplateDraft, tuple[str, ...]]:
    """Return *draft* without credentials, and the paths of what was removed.

    Credentials are the values of headers with such a name or such a beginning, webhooks (the URL
    alone permits posting to it), and user and password in a URL. If a parameter fills such a
    place, the placeholder stays, and the parameter loses its default and its allowed values. A
    parameter whose placeholders are all gone is removed.
    """
    cleaner = _Cleaner(put=None)
    spec = cleaner.spec(draft.spec)
    used = {name for text in texts_in(spec) for name in _names(text)}
    parameters = tuple(cleaner.parameter(p) for p in draft.parameters if p.name in used)
    removed = [f"parameters.{p.name}" for p in draft.parameters if p.name not in used]
    return replace(draft, spec=spec, parameters=parameters), (*cleaner.found, *removed)


def hide_credentials(spec: Mapping[str, object]) -> dict[str, object]:
    """Return the form *spec* with `HIDDEN` in place of each credential."""
    return _Cleaner(put=HIDDEN).spec(spec)


def has_credentials(spec: Mapping[str, object]) -> bool:
    """Return whether the form *spec* has any credential."""
    cleaner = _Cleaner(put=HIDDEN)
    cleaner.spec(spec)
    return bool(cleaner.found)


def hide_params(
    params: Mapping[str, object], secret: Collection[str] | None = None
) -> dict[str, object]:
    """Return parameter values by name, with `HIDDEN` for credentials.

    *secret* names the credentials, as returned by `secret_names`; ``None`` means those with a name
    like one.
    """
    return {
        name: HIDDEN
        if value is not None and (is_secret(name) if secret is None else name in secret)
        else hide_urls(value)
        for name, value in params.items()
    }


def hide_urls(value: Any) -> Any:
    """Return a JSON value with `HIDDEN` for user and password of each URL in it."""
    return _Cleaner(put=HIDDEN).urls("", value)


def hide_proxy(url: str) -> str:
    """Return the URL of a proxy with `HIDDEN` for its user and password."""
    return str(_Cleaner(put=HIDDEN).spec({"proxies": url})["proxies"])


def secret_names(spec: Mapping[str, object]) -> frozenset[str]:
    """Return the names of the parameters that are used as credentials in *spec*."""
    cleaner = _Cleaner(put=HIDDEN)
    cleaner.spec(spec)
    return frozenset(cleaner.filling)


def credentials(draft: TemplateDraft) -> tuple[str, ...]:
    """Return the paths of everything in *draft* that publishing would remove."""
    return strip_credentials(draft)[1]


def has_only_placeholders(text: str) -> bool:
    """Return whether *text* consists only of placeholders and what may surround credentials."""
    marked = PLACEHOLDER.sub(_ANY, text.replace(_ANY, "?"))
    return _FRAME.fullmatch(marked.strip()) is not None


def texts_in(value: object) -> Iterator[str]:
    """Yield the texts in a JSON value, except for field names."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if is_list(value) else ()
    for item in inner:
        yield from texts_in(item)


class _Cleaner(Struct):
    """Walks through a draft. *put* replaces each credential; ``None`` removes it."""

    put: str | None
    found: list[str] = field(default_factory=list)
    filling: set[str] = field(default_factory=set)  # parameters used as credentials
    hosts: set[str] = field(default_factory=set)  # parameters that begin the authority of a URL

    def spec(self, spec: Mapping[str, object]) -> dict[str, object]:
        read = {"headers": self._headers, "webhooks": self._webhooks, "proxies": self._proxies}
        return {
            name: read[name](value) if name in read else self.urls(name, value)
            for name, value in spec.items()
        }

    def parameter(self, parameter: TemplateParameter) -> TemplateParameter:
        path = f"parameters.{parameter.name}"
        if parameter.name in self.filling:
            for name in ("default", "allowed"):
                if getattr(parameter, name) not in (None, ()):
                    self.found.append(f"{path}.{name}")
            needed = parameter.required or parameter.default is not None
            return replace(parameter, default=None, allowed=(), required=needed)
        before = "://" if parameter.name in self.hosts else ""
        default, *allowed = (
            self.urls(where, before + value).removeprefix(before)
            if isinstance(value, str)
            else self.urls(where, value)
            for where, value in (
                (f"{path}.default", parameter.default),
                *((f"{path}.allowed.{n}", value) for n, value in enumerate(parameter.allowed)),
            )
        )
        return replace(parameter, default=default, allowed=tuple(allowed))

    def urls(self, path: str, value: Any) -> Any:
        """Return *value* without user and password in its URLs."""
        if isinstance(value, str):
            if "://" not in value:
                return value
            self.hosts |= {name.strip() for name in _AUTHORITY.findall(value)}
            return _USERINFO.sub(lambda match: self._userinfo(path, match[1]), value)
        if isinstance(value, Mapping):
            return {name: self.urls(f"{path}.{name}", inner) for name, inner in value.items()}
        if is_list(value):
            return [self.urls(f"{path}.{n}", inner) for n, inner in enumerate(value)]
        return value

    def _userinfo(self, path: str, login: str) -> str:
        """Return user and password, which are followed by an @, as shown."""
        self.filling |= set(_names(login))
        if PLACEHOLDER.sub("", login) in {"", ":"}:
            return f"{login}@"
        self.found.append(path)
        return "" if self.put is None else f"{self.put}@"

    def _headers(self, value: object) -> object:
        if isinstance(value, Mapping):
            pairs = [self._header(name, content) for name, content in value.items()]
            return dict(pair for pair in pairs if pair is not None)
        if not is_list(value):
            return value
        clean: list[object] = []
        for item in value:
            if not is_list(item) or len(item) != 2:
                clean.append(item)
            elif (pair := self._header(*item)) is not None:
                clean.append(list(pair))
        return clean

    def _header(self, name: object, content: object) -> tuple[object, object] | None:
        """Return a header as shown; ``None`` to leave it out."""
        if not isinstance(content, str):
            return name, content
        begins = _SCHEME.match(PLACEHOLDER.sub(_ANY, content)) is not None
        # a name with a placeholder may become any name
        if not (begins or is_secret(str(name)) or PLACEHOLDER.search(str(name))):
            return name, self.urls(f"headers.{name}", content)
        self.filling |= set(_names(content))
        if has_only_placeholders(content):
            return name, content
        self.found.append(f"headers.{name}")
        return None if self.put is None else (name, self.put)

    def _proxies(self, value: object) -> object:
        """Return proxies as shown; also those that are malformed, as their logins are real."""
        if isinstance(value, str):
            return self._proxy("proxies", value)
        if not is_list(value):
            return value
        return [self._proxy(f"proxies.{n}", proxy) for n, proxy in enumerate(value)]

    def _proxy(self, path: str, value: object) -> object:
        match = _LOGIN.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return self.urls(path, value)
        return match["before"] + self._userinfo(path, match["login"]) + match["host"]

    def _webhooks(self, value: object) -> object:
        if isinstance(value, str) and self.put is None:
            return value if self._is_open("webhooks", value) else []
        if not is_list(value):
            return value
        hooks = (self._webhook(f"webhooks.{n}", hook) for n, hook in enumerate(value))
        return [hook for hook in hooks if hook is not None]

    def _webhook(self, path: str, hook: object) -> object | None:
        """Return a webhook as shown; ``None`` to leave it out."""
        url = hook.get("url") if isinstance(hook, Mapping) else hook
        if self.put is None and not self._is_open(path, url):
            return None
        if not isinstance(hook, Mapping):
            text: object = self.urls(path, hook)
            return text
        clean: dict[str, object] = {}
        for name, value in hook.items():
            where, cleaned = f"{path}.{name}", self.urls(f"{path}.{name}", value)
            if name == "secret" and isinstance(value, str):
                cleaned = self._signing(where, value)
            elif name == "headers" and isinstance(value, Mapping):
                headers = {key: self._signing(f"{where}.{key}", str(value[key])) for key in value}
                cleaned = {key: text for key, text in headers.items() if text is not None}
            if cleaned is not None:
                clean[name] = cleaned
        return clean

    def _signing(self, path: str, secret: str) -> str | None:
        """Return a secret or header of a webhook as shown; ``None`` to leave it out."""
        self.filling |= set(_names(secret))
        if not PLACEHOLDER.sub("", secret).strip():
            return secret
        self.found.append(path)
        return self.put

    def _is_open(self, path: str, url: object) -> bool:
        """Return whether the whole *url* of a webhook is a placeholder; if not, record its path."""
        if isinstance(url, str) and PLACEHOLDER.fullmatch(url.strip()):
            self.filling |= set(_names(url))
            return True
        self.found.append(path)
        return False


def _names(text: str) -> list[str]:
    """Return the parameters used in *text*, in order."""
    return [name.strip() for name in PLACEHOLDER.findall(text)]
