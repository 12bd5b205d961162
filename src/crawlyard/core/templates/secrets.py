"""Credentials in a template: taken out before others see it, hidden where it is shown."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.jobs.spec import is_secret
from crawlyard.core.parse import is_list
from crawlyard.core.templates.template import PLACE, Parameter, TemplateDraft

HIDDEN = "***"
"""What is shown in place of a credential."""

_USERINFO = re.compile(r"(?<=://)((?:(?>\{\{[^{}]*\}\}|[^/?#\s]))*)@")
"""User and password in a URL: all between the scheme and the last @ before the path. A
place may have blanks in it."""

_AUTHORITY = re.compile(r"://\{\{([^{}]*)\}\}")
"""A place that fills the host of a URL, and perhaps a user and a password before it."""

_ANY = "\0"  # stands for a place while the text around it is judged
_SCHEME = re.compile(
    r"\s*(?:(?:basic|bearer|token|apikey|negotiate)\s+\S+\s*$|digest\s+\w+=)", re.IGNORECASE
)
"""How the value of a header begins that is a credential, whatever the header's name.
Source: RFC 9110, section 11.4, with the schemes of the IANA registry and two of habit."""
_FRAME = re.compile(
    r"(?>(?:(?:basic|bearer|token|apikey|negotiate|digest)(?:\s+|$))?)"
    r'(?:(?>[;,:&\s]*)(?:[A-Za-z_][\w.-]{0,39}=)?"?\0"?)*(?>[;,:&\s]*)',
    re.IGNORECASE,
)
"""What may stand around places for credentials: a scheme, names as in ``session={{token}}``."""


def stripped(draft: TemplateDraft) -> tuple[TemplateDraft, tuple[str, ...]]:
    """Return *draft* without credentials, and the paths of what was taken out.

    Credentials are the values of headers that are named like one or begin like one,
    webhooks (whoever knows their URL may post to it), and user and password in a URL.
    Where a parameter fills such a place, the place stays, and the parameter loses its
    default and its allowed values. One that no place is left for is taken out.
    """
    cleaner = _Cleaner(put=None)
    spec = cleaner.spec(draft.spec)
    left = {name for text in texts_in(spec) for name in _names(text)}
    parameters = tuple(cleaner.parameter(p) for p in draft.parameters if p.name in left)
    gone = [f"parameters.{p.name}" for p in draft.parameters if p.name not in left]
    return replace(draft, spec=spec, parameters=parameters), (*cleaner.found, *gone)


def hidden(spec: Mapping[str, object]) -> dict[str, object]:
    """Return the form *spec* with `HIDDEN` for each credential in it."""
    return _Cleaner(put=HIDDEN).spec(spec)


def hidden_params(
    params: Mapping[str, object], secret: Collection[str] | None = None
) -> dict[str, object]:
    """Return values of parameters by name, with `HIDDEN` for those that are credentials.

    *secret* names them, as `secret_names` does; ``None``: those that are named like one.
    """
    return {
        name: HIDDEN
        if value is not None and (is_secret(name) if secret is None else name in secret)
        else hidden_urls(value)
        for name, value in params.items()
    }


def hidden_urls(value: Any) -> Any:
    """Return a JSON value with `HIDDEN` for user and password of each URL in it."""
    return _Cleaner(put=HIDDEN).urls("", value)


def secret_names(spec: Mapping[str, object]) -> frozenset[str]:
    """Return the names of the parameters that fill places of credentials in *spec*."""
    cleaner = _Cleaner(put=HIDDEN)
    cleaner.spec(spec)
    return frozenset(cleaner.filling)


def credentials(draft: TemplateDraft) -> tuple[str, ...]:
    """Return the paths of the credentials in *draft*."""
    return stripped(draft)[1]


def frames(text: str) -> bool:
    """Tell whether *text* is nothing but places, and what may stand around credentials."""
    marked = PLACE.sub(_ANY, text.replace(_ANY, "?"))
    return _FRAME.fullmatch(marked.strip()) is not None


def texts_in(value: object) -> Iterator[str]:
    """Yield the texts in a JSON value, but for the names of its fields."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if is_list(value) else ()
    for item in inner:
        yield from texts_in(item)


class _Cleaner(Struct):
    """Walks through a draft; *put* takes the place of a credential, ``None`` takes it out."""

    put: str | None
    found: list[str] = field(default_factory=list)
    filling: set[str] = field(default_factory=set)  # parameters that stand for credentials
    hosts: set[str] = field(default_factory=set)  # parameters that a URL begins with

    def spec(self, spec: Mapping[str, object]) -> dict[str, object]:
        read = {"headers": self._headers, "webhooks": self._webhooks}
        return {
            name: read[name](value) if name in read else self.urls(name, value)
            for name, value in spec.items()
        }

    def parameter(self, parameter: Parameter) -> Parameter:
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
            return _USERINFO.sub(lambda found: self._userinfo(path, found), value)
        if isinstance(value, Mapping):
            return {name: self.urls(f"{path}.{name}", inner) for name, inner in value.items()}
        if is_list(value):
            return [self.urls(f"{path}.{n}", inner) for n, inner in enumerate(value)]
        return value

    def _userinfo(self, path: str, found: re.Match[str]) -> str:
        self.filling |= set(_names(found[1]))
        if PLACE.sub("", found[1]) in {"", ":"}:
            return found[0]
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
        """Return a header as it is shown, ``None`` to leave it out."""
        if not isinstance(content, str):
            return name, content
        begins = _SCHEME.match(PLACE.sub(_ANY, content)) is not None
        # a name that is open may become any
        if not (begins or is_secret(str(name)) or PLACE.search(str(name))):
            return name, self.urls(f"headers.{name}", content)
        self.filling |= set(_names(content))
        if frames(content):
            return name, content
        self.found.append(f"headers.{name}")
        return None if self.put is None else (name, self.put)

    def _webhooks(self, value: object) -> object:
        if isinstance(value, str) and self.put is None:
            return value if self._is_open("webhooks", value) else []
        if not is_list(value):
            return value
        hooks = (self._webhook(f"webhooks.{n}", hook) for n, hook in enumerate(value))
        return [hook for hook in hooks if hook is not None]

    def _webhook(self, path: str, hook: object) -> object | None:
        """Return a webhook as it is shown, ``None`` to leave it out."""
        url = hook.get("url") if isinstance(hook, Mapping) else hook
        if self.put is None and not self._is_open(path, url):
            return None
        if not isinstance(hook, Mapping):
            text: object = self.urls(path, hook)
            return text
        clean: dict[str, object] = {}
        for name, value in hook.items():
            where, signs = f"{path}.{name}", name == "secret" and isinstance(value, str)
            shown = self._signing(where, str(value)) if signs else self.urls(where, value)
            if shown is not None:
                clean[name] = shown
        return clean

    def _signing(self, path: str, secret: str) -> str | None:
        """Return the secret of a webhook as it is shown, ``None`` to leave it out."""
        self.filling |= set(_names(secret))
        if not PLACE.sub("", secret).strip():
            return secret
        self.found.append(path)
        return self.put

    def _is_open(self, path: str, url: object) -> bool:
        """Tell whether a place stands for the whole *url* of a webhook; else it is found."""
        if isinstance(url, str) and PLACE.fullmatch(url.strip()):
            self.filling |= set(_names(url))
            return True
        self.found.append(path)
        return False


def _names(text: str) -> list[str]:
    """Return the names in the places of *text*."""
    return [name.strip() for name in PLACE.findall(text)]
