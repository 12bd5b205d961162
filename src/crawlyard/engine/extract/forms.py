"""Login forms of a page, with all values that a browser would send."""

from collections.abc import Collection

import turbohtml
from msgspec import Struct

from crawlyard.engine.extract.page import parse_html
from crawlyard.engine.urls import Base
from crawlyard.errors import Invalid

_PASSWORD = "input[type=password i][name]"  # noqa: S105 - a selector
_NAMES = (
    ",".join(f"input[type={kind} i][name]" for kind in ("text", "email", "tel"))
    + ",input[name]:not([type])"
)
_BUTTONS = "button:not([type]),button[type=submit i],input[type=submit i]"


class LoginForm(Struct, frozen=True, kw_only=True):
    """Login form: where it is sent, its values and the fields to fill in."""

    action: str | None  # a canonical URL; None: it is not an http(s) URL
    post: bool
    values: tuple[tuple[str, str], ...]  # initial values, of hidden fields and the button too
    user: str = ""  # the name of the field for a user name
    password: str = ""  # the name of the field for a password

    def values_with(self, fields: dict[str, str]) -> list[tuple[str, str]]:
        """Return the values to send, with *fields* in place of initial ones."""
        unchanged = [(name, value) for name, value in self.values if name not in fields]
        return [*unchanged, *fields.items()]


def login_form(
    body: bytes, charset: str | None, url: str, *, submit: str = "", fields: Collection[str] = ()
) -> LoginForm | None:
    """Return the form or the form of the button that *submit* selects, else the login form.

    The login form is the first one with a password field or, if there is none, with all *fields*.

    Raises:
        Invalid: *submit* is not a selector.
    """
    document = parse_html(body, charset)
    forms, button = document.select("form"), None
    if submit:
        try:
            button = document.select_one(submit)
        except ValueError as error:
            raise Invalid("submit", f"{submit!r} is not a CSS selector: {error}") from None
        form = button if button is None or button.tag == "form" else button.closest("form")
    else:
        form = next((candidate for candidate in forms if candidate.select_one(_PASSWORD)), None)
        if form is None and fields:
            form = next((candidate for candidate in forms if _has(candidate, fields)), None)
    if form is None:
        return None
    if button is None or button.tag == "form":
        button = form.select_one(_BUTTONS)
    return _read(document, form, button, url)


def has_scripts(body: bytes, charset: str | None) -> bool:
    """Return whether scripts may create a form in a page, or submit its form."""
    return parse_html(body, charset).select_one("script") is not None


def _has(form: turbohtml.Element, fields: Collection[str]) -> bool:
    return set(fields) <= {control.attr("name") for control in form.select("[name]")}


def _read(
    document: turbohtml.Document,
    form: turbohtml.Element,
    button: turbohtml.Element | None,
    url: str,
) -> LoginForm:
    root = document.select_one("base[href]")
    base = Base(url, None if root is None else root.attr("href"))
    controls = form.select(f"{_PASSWORD},{_NAMES}")
    password = next((c for c in controls if (c.attr("type") or "").lower() == "password"), None)
    before = controls if password is None else controls[: controls.index(password)]
    values = [(name, str(value)) for name, value in form.form_data()]
    action, method = form.attr("action"), form.attr("method")
    if button is not None:
        action, method = button.attr("formaction") or action, button.attr("formmethod") or method
        if name := button.attr("name"):
            values.append((name, button.attr("value") or ""))
    return LoginForm(
        action=base.join(action) if action else url,
        post=(method or "").strip().lower() == "post",
        values=tuple(values),
        user=(before[-1].attr("name") or "") if before else "",
        password=(password.attr("name") or "") if password is not None else "",
    )
