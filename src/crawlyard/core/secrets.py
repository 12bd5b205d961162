"""Credentials in a template: taken out before others see it, hidden where it is shown."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crawlyard.core.reading import is_list
from crawlyard.core.spec import is_secret
from crawlyard.core.template import PLACE, Parameter, TemplateDraft

HIDDEN = "***"
"""What is shown in place of a credential."""

_SCHEMES = frozenset({"", "basic", "bearer", "digest", "token", "apikey"})
_USERINFO = re.compile(r"(?<=://)([^/?#\s]*)@")
"""User and password in a URL: all between the scheme and the last @ before the path."""


def stripped(draft: TemplateDraft) -> tuple[TemplateDraft, tuple[str, ...]]:
    """Return *draft* without credentials, and the paths of what was taken out.

    Credentials are the values of headers that are named like one, secrets of webhooks,
    and user and password in a URL. Where a parameter fills such a place, the place
    stays, and the parameter loses its default and its allowed values.
    """
    cleaner = _Cleaner(put=None)
    spec = cleaner.spec(draft.spec)
    parameters = tuple(cleaner.parameter(parameter) for parameter in draft.parameters)
    return replace(draft, spec=spec, parameters=parameters), tuple(cleaner.found)


def hidden(spec: Mapping[str, object]) -> dict[str, object]:
    """Return the form *spec* with `HIDDEN` for each credential in it."""
    return _Cleaner(put=HIDDEN).spec(spec)


def credentials(draft: TemplateDraft) -> tuple[str, ...]:
    """Return the paths of the credentials in *draft*."""
    return stripped(draft)[1]


@dataclass(slots=True)
class _Cleaner:
    """Walks through a draft; *put* takes the place of a credential, ``None`` takes it out."""

    put: str | None
    found: list[str] = field(default_factory=list)
    filling: set[str] = field(default_factory=set)  # parameters that stand for credentials

    def spec(self, spec: Mapping[str, object]) -> dict[str, object]:
        clean: dict[str, object] = {}
        for name, value in spec.items():
            if name == "headers":
                clean[name] = self._headers(value)
            elif name == "webhooks" and is_list(value):
                hooks = enumerate(value)
                clean[name] = [self._webhook(f"{name}.{n}", hook) for n, hook in hooks]
            else:
                clean[name] = self._urls(name, value)
        return clean

    def parameter(self, parameter: Parameter) -> Parameter:
        path = f"parameters.{parameter.name}"
        if parameter.name in self.filling:
            for name in ("default", "allowed"):
                if getattr(parameter, name) not in (None, ()):
                    self.found.append(f"{path}.{name}")
            needed = parameter.required or parameter.default is not None
            return replace(parameter, default=None, allowed=(), required=needed)
        default = self._urls(f"{path}.default", parameter.default)
        allowed = self._urls(f"{path}.allowed", list(parameter.allowed))
        return replace(parameter, default=default, allowed=tuple(allowed))

    def _headers(self, value: object) -> object:
        def secret(name: object, content: object) -> bool:
            return is_secret(str(name)) and self._is_given(content, _SCHEMES)

        if isinstance(value, Mapping):
            return self._without(value, lambda name: f"headers.{name}", secret)
        if not is_list(value):
            return value
        pairs: list[object] = []
        for pair in value:
            if is_list(pair) and len(pair) == 2 and secret(*pair):
                self.found.append(f"headers.{pair[0]}")
                if self.put is not None:
                    pairs.append([pair[0], self.put])
            else:
                pairs.append(pair)
        return pairs

    def _webhook(self, path: str, hook: object) -> object:
        if not isinstance(hook, Mapping):
            return hook
        clean = self._without(
            hook,
            lambda name: f"{path}.{name}",
            lambda name, content: name == "secret" and self._is_given(content, frozenset({""})),
        )
        return clean | {"url": self._urls(f"{path}.url", clean["url"])} if "url" in clean else clean

    def _without(
        self,
        fields: Mapping[Any, object],
        path_of: Callable[[object], str],
        secret: Callable[[object, object], bool],
    ) -> dict[Any, object]:
        clean: dict[Any, object] = {}
        for name, content in fields.items():
            if not secret(name, content):
                clean[name] = content
                continue
            self.found.append(path_of(name))
            if self.put is not None:
                clean[name] = self.put
        return clean

    def _urls(self, path: str, value: Any) -> Any:
        if isinstance(value, str):
            return _USERINFO.sub(lambda found: self._userinfo(path, found), value)
        if isinstance(value, Mapping):
            return {name: self._urls(f"{path}.{name}", inner) for name, inner in value.items()}
        if is_list(value):
            return [self._urls(f"{path}.{n}", inner) for n, inner in enumerate(value)]
        return value

    def _userinfo(self, path: str, found: re.Match[str]) -> str:
        if not self._is_given(found[1], frozenset({"", ":"})):
            return found[0]
        self.found.append(path)
        return "" if self.put is None else f"{self.put}@"

    def _is_given(self, content: object, words: frozenset[str]) -> bool:
        """Tell whether *content* has a credential in it, and not just a parameter for one.

        *words* are what may stand beside a parameter.
        """
        if not isinstance(content, str):
            return content is not None
        self.filling |= {name.strip() for name in PLACE.findall(content)}
        return PLACE.sub("", content).strip().lower() not in words
