"""Signs in a page that the session of its job is logged out."""

from collections.abc import Iterable

import turbohtml

from crawlyard.core.access.site_session import FormMark
from crawlyard.engine.urls import Base


def logout_sign(
    document: turbohtml.Document, base: Base, selectors: Iterable[str], mark: FormMark | None
) -> str:
    """Return what in a page shows that the session is logged out, "has …"; empty: nothing does.

    *selectors* are rules of the job, *mark* belongs to the login form of the session.
    """
    for css in selectors:
        if document.select_one(css):
            return f"has what {css!r} selects"
    if mark is None:
        return ""
    shown = any(_is_login_form(form, base, mark) for form in document.select("form"))
    return "has the login form" if shown else ""


def _is_login_form(form: turbohtml.Element, base: Base, mark: FormMark) -> bool:
    """Return whether a form is sent to the same place or has the same fields.

    A form to change a password may have those fields too, but more than one password.
    """
    if len(form.select("input[type=password i]")) != 1:
        return False
    names = {field.attr("name") for field in form.select("[name]")}
    if names.issuperset(mark.fields):
        return True
    action = base.join(form.attr("action") or "")
    return action is not None and action.partition("?")[0] == mark.action
