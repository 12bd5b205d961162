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
        """Return a text without secrets, which must not get into logs."""
        return f"Fill(submit={self.submit!r})"


class NotFilled(Exception):
    """A form was not filled in, or cannot be submitted.

    *lacks* names what the page lacks: form, submit, enabled (its button is disabled), user,
    secret or fields.NAME.
    """

    def __init__(self, lacks: str) -> None:
        super().__init__(lacks)
        self.lacks = lacks


_STEP = """((asked, values, sends) => {
  const named = (name, root) => [...root.querySelectorAll('input,select,textarea')]
    .filter((one) => one.name === name || one.id === name);
  const secretOf = (root) => [...root.querySelectorAll('input')]
    .find((one) => one.type === 'password');
  const put = (one, value) => {
    if (one.type === 'checkbox' || one.type === 'radio') {
      if (!one.checked) one.click();
      return;
    }
    const own = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(one), 'value');
    own.set.call(one, value);
    for (const name of ['input', 'change'])
      one.dispatchEvent(new Event(name, {bubbles: true}));
  };
  try {
    const found = asked.submit ? document.querySelector(asked.submit) : null;
    if (asked.submit && !found) return 'submit';
    const mark = found || secretOf(document) || named(asked.fields[0], document)[0];
    if (!mark) return 'form';
    const form = mark.closest('form'), root = form || document;
    if (!form && !found) return 'submit';
    const inputs = [...root.querySelectorAll('input')], secret = secretOf(root);
    const user = inputs.slice(0, secret ? inputs.indexOf(secret) : inputs.length)
      .findLast((one) => ['text', 'email', 'tel'].includes(one.type));
    if (asked.user && !user) return 'user';
    if (asked.secret && !secret) return 'secret';
    for (const name of asked.fields) if (!named(name, root).length) return 'fields.' + name;
    if (values) {
      if (values.user) put(user, values.user);
      if (values.secret) put(secret, values.secret);
      for (const [name, value] of Object.entries(values.fields)) {
        const all = named(name, root);
        put(all.find((one) => one.type === 'radio' && one.value === value) || all[0], value);
      }
    }
    const button = found && found !== form ? found
      : [...root.querySelectorAll('button,input')].find((one) => one.type === 'submit');
    if (sends && button && button.disabled) return 'enabled';
    if (sends) setTimeout(() => button ? button.click() : form.requestSubmit(), 0);
    return '';
  } catch {
    return 'form';
  }
})(%s, %s, %s)"""
# Values are set by the prototype's setter, as frameworks override that of the element. Exceptions
# of the page are not reported: they may contain the values. Submitting waits until this has
# returned, since a step whose result is lost with its page is repeated.


def step(fill: Fill, *, fills: bool = False, sends: bool = False) -> str:
    """Return a script that finds the form; with *fills* and *sends*, it fills it in and submits it.

    Its value is what the page lacks (see `NotFilled`), empty if nothing.
    """
    wanted_fields = {
        "submit": fill.submit,
        "user": bool(fill.user),
        "secret": bool(fill.secret),
        "fields": list(fill.fields),
    }
    values = {"user": fill.user, "secret": fill.secret, "fields": dict(fill.fields)}
    parts = (wanted_fields, values if fills else None, sends)
    return _STEP % tuple(map(json.dumps, parts))


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
