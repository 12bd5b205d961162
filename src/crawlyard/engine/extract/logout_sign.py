"""Signs of a logged-out session in a page."""

import turbohtml
from msgspec import Struct

from crawlyard.core.access.site_session import FormMark
from crawlyard.engine.urls import Base


class SessionSigns(Struct, frozen=True, kw_only=True):
    """Selectors and form that show that a session is logged out."""

    selectors: tuple[str, ...] = ()  # CSS
    form: FormMark | None = None  # the form of its login


def logout_sign(document: turbohtml.Document, base: Base, signs: SessionSigns) -> str:
    """Return the sign that a page has, "has …", empty if none."""
    for css in signs.selectors:
        if document.select_one(css):
            return f"matches {css!r}"
    mark = signs.form
    if mark is not None and any(_is_login_form(f, base, mark) for f in document.select("form")):
        return "has the login form"
    return ""


def _is_login_form(form: turbohtml.Element, base: Base, mark: FormMark) -> bool:
    """Return whether a form has the same action or the same fields.

    A form to change a password may have those fields too, but more than one password.
    """
    if len(form.select("input[type=password i]")) != 1:
        return False
    names = {field.attr("name") for field in form.select("[name]")}
    if names.issuperset(mark.fields):
        return True
    action = base.join(form.attr("action") or "")
    return action is not None and action.partition("?")[0] == mark.action
