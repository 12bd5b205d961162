"""Login forms in a browser: found, filled in and sent by steps of ours in their page."""

import json
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.crawl.cookie import Cookie
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.render.cdp import Message

Shown: TypeAlias = Callable[[str, Response], Sequence[Cookie]]
"""Returns the cookies of an answer, by its URL, that scripts of the page may see."""


class Fill(Struct, frozen=True, kw_only=True):
    """What is filled in, and into which form of a page; see `FormAsk`."""

    user: str
    secret: str
    fields: Mapping[str, str]
    submit: str
    shown: Shown

    def __repr__(self) -> str:
        """Return a text without secrets, which must not get into logs."""
        return f"Fill(submit={self.submit!r})"


class NotFilled(Exception):
    """Nothing was filled in, or it cannot be sent.

    *lacks* is what the page does not have: form, submit, enabled (its button is not), user,
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
# By the setter of the prototype, as frameworks put one of theirs before it. What a page throws is
# not told: it may hold what was filled in. Sending waits until this has returned, since a step
# whose answer is lost with its page is taken again.


def step(fill: Fill, *, fills: bool = False, sends: bool = False) -> str:
    """Return a script that looks for the form, and does what is wanted if all of it is there.

    Its value is what the page lacks, see `NotFilled`; empty: nothing.
    """
    asked = {
        "submit": fill.submit,
        "user": bool(fill.user),
        "secret": bool(fill.secret),
        "fields": list(fill.fields),
    }
    values = {"user": fill.user, "secret": fill.secret, "fields": dict(fill.fields)}
    parts = (asked, values if fills else None, sends)
    return _STEP % tuple(map(json.dumps, parts))


def kept(url: str, cookie: Cookie) -> Message:
    """Return the parameters by which a browser takes a cookie of *url*."""
    told: Message = {"name": cookie.name, "value": cookie.value, "url": url, "path": cookie.path}
    if not cookie.host_only:
        told["domain"] = f".{cookie.domain}"
    if cookie.secure:
        told["secure"] = True
    if cookie.expires is not None:
        told["expires"] = cookie.expires.timestamp()
    return told


def as_set(cookie: Message, host: str) -> str:
    """Return a cookie of a browser as *host* would set it in a header."""
    parts = [f"{cookie['name']}={cookie['value']}", f"Path={cookie['path']}"]
    if cookie["domain"] != host:
        parts.append(f"Domain={cookie['domain']}")
    if cookie.get("expires", -1) > 0:
        parts.append(f"Expires={formatdate(cookie['expires'], usegmt=True)}")
    if cookie.get("secure"):
        parts.append("Secure")
    return "; ".join(parts)
