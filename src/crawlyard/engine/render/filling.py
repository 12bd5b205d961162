"""Login forms in a browser: scripts that find, fill in and submit them in their page."""

import json
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.crawl.cookie import Cookie
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.render.cdp import Message

ScriptCookies: TypeAlias = Callable[[str, Response], Sequence[Cookie]]
"""Returns the cookies of a response, by its URL, that scripts of the page may read."""


class Fill(Struct, frozen=True, kw_only=True):
    """Values for a login form in a page; see `FormCredentials`."""

    user: str
    secret: str
    fields: Mapping[str, str]
    submit: str
    script_cookies: ScriptCookies

    def __repr__(self) -> str:
        """Return a representation without secrets, which must not get into logs."""
        return f"Fill(submit={self.submit!r})"


class NotFilled(Exception):
    """A form was not filled in, or cannot be submitted.

    *lacks* names what the page lacks: form, submit, enabled (its button is disabled), user,
    secret or fields.NAME.
    """

    def __init__(self, lacks: str) -> None:
        super().__init__(lacks)
        self.lacks = lacks


_LOGIN_SCRIPT = """((spec, values, submits) => {
  const controlsNamed = (name, root) => [...root.querySelectorAll('input,select,textarea')]
    .filter((control) => control.name === name || control.id === name);
  const secretOf = (root) => [...root.querySelectorAll('input')]
    .find((control) => control.type === 'password');
  const setValue = (control, value) => {
    if (control.type === 'checkbox' || control.type === 'radio') {
      if (!control.checked) control.click();
      return;
    }
    const property = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(control), 'value');
    property.set.call(control, value);
    for (const name of ['input', 'change'])
      control.dispatchEvent(new Event(name, {bubbles: true}));
  };
  try {
    const chosen = spec.submit ? document.querySelector(spec.submit) : null;
    if (spec.submit && !chosen) return 'submit';
    const anchor = chosen || secretOf(document) || controlsNamed(spec.fields[0], document)[0];
    if (!anchor) return 'form';
    const form = anchor.closest('form'), root = form || document;
    if (!form && !chosen) return 'submit';
    const inputs = [...root.querySelectorAll('input')], secret = secretOf(root);
    const user = inputs.slice(0, secret ? inputs.indexOf(secret) : inputs.length)
      .findLast((control) => ['text', 'email', 'tel'].includes(control.type));
    if (spec.user && !user) return 'user';
    if (spec.secret && !secret) return 'secret';
    for (const name of spec.fields) if (!controlsNamed(name, root).length) return 'fields.' + name;
    if (values) {
      if (values.user) setValue(user, values.user);
      if (values.secret) setValue(secret, values.secret);
      for (const [name, value] of Object.entries(values.fields)) {
        const controls = controlsNamed(name, root);
        const radio = controls.find((control) => (
          control.type === 'radio' && control.value === value));
        setValue(radio || controls[0], value);
      }
    }
    const button = chosen && chosen !== form ? chosen
      : [...root.querySelectorAll('button,input')].find((control) => control.type === 'submit');
    if (submits && button && button.disabled) return 'enabled';
    if (submits) setTimeout(() => button ? button.click() : form.requestSubmit(), 0);
    return '';
  } catch {
    return 'form';
  }
})(%s, %s, %s)"""
# Values are set by the prototype's setter, as frameworks override that of the element. Exceptions
# of the page are not reported: they may contain the values. Submitting waits until this has
# returned, since a step whose result is lost with its page is repeated.


def login_script(fill: Fill, *, fills: bool = False, submits: bool = False) -> str:
    """Return a script that finds the form, fills it in with *fills*, and submits it with *submits*.

    The script evaluates to what the page lacks (see `NotFilled`), or to an empty string.
    """
    spec = {
        "submit": fill.submit,
        "user": bool(fill.user),
        "secret": bool(fill.secret),
        "fields": list(fill.fields),
    }
    values = {"user": fill.user, "secret": fill.secret, "fields": dict(fill.fields)}
    arguments = (spec, values if fills else None, submits)
    return _LOGIN_SCRIPT % tuple(map(json.dumps, arguments))


def cookie_params(url: str, cookie: Cookie) -> Message:
    """Return the parameters of `Network.setCookie` for a cookie of *url*."""
    params: Message = {"name": cookie.name, "value": cookie.value, "url": url, "path": cookie.path}
    if not cookie.host_only:
        params["domain"] = f".{cookie.domain}"
    if cookie.secure:
        params["secure"] = True
    if cookie.expires is not None:
        params["expires"] = cookie.expires.timestamp()
    return params


def set_cookie_value(cookie: Message, host: str) -> str:
    """Return the Set-Cookie value with which *host* would set a browser's cookie."""
    parts = [f"{cookie['name']}={cookie['value']}", f"Path={cookie['path']}"]
    if cookie["domain"] != host:
        parts.append(f"Domain={cookie['domain']}")
    if cookie.get("expires", -1) > 0:
        parts.append(f"Expires={formatdate(cookie['expires'], usegmt=True)}")
    if cookie.get("secure"):
        parts.append("Secure")
    return "; ".join(parts)
