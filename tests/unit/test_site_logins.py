"""Login options, cookie files, and the rules that detect a logged-out answer."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crawlyard.cli.sites.logins import LoginMethod, login_arguments, session_name_for
from crawlyard.clock import SystemClock
from crawlyard.core.access.cookie_files import cookies_in
from crawlyard.core.access.logged_out import LOGIN_PATH, LoggedOutRules, rules_of
from crawlyard.core.access.site_session import LoginKind, SessionState
from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.extract.forms import login_form
from crawlyard.engine.hosts.rate_limiter import RateLimiter, Slot
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.scope import LOGOUT_RULE, Boundary
from crawlyard.engine.site_session import ActiveSession, LoggedOut, LogoutWatch
from crawlyard.engine.urls import fingerprint, host_of
from crawlyard.engine.visit.state import Visit
from crawlyard.errors import Invalid

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
SITE = "https://shop.example.org"

JAR = f"""# Netscape HTTP Cookie File
.example.org\tTRUE\t/\tTRUE\t{LATER}\tsid\ts3cret
#HttpOnly_shop.example.org\tFALSE\t/cart\tFALSE\t0\tcart\t

old.example.org\tFALSE\t/\tFALSE\t1000\tgone\tx
"""

STATE = {
    "cookies": [
        {
            "name": "sid",
            "value": "s3cret",
            "domain": ".example.org",
            "path": "/",
            "expires": LATER,
            "httpOnly": True,
            "secure": True,
            "sameSite": "Lax",
        },
        {"name": "cart", "value": "", "domain": "shop.example.org", "path": "/", "expires": -1},
    ],
    "origins": [],
}


def test_a_word_says_how_to_log_in() -> None:
    assert LoginMethod.of("basic:ada") == LoginMethod(kind=LoginKind.BASIC, user="ada")
    assert LoginMethod.of("bearer") == LoginMethod(kind=LoginKind.BEARER)
    assert LoginMethod.of("cookies:a/b:c.txt") == LoginMethod(
        kind=LoginKind.COOKIES, file="a/b:c.txt"
    )
    assert LoginMethod.of(f"form:{SITE}/login") == LoginMethod(
        kind=LoginKind.FORM, url=f"{SITE}/login"
    )
    for word in ("", "basic", "basic:", "bearer:token", "cookies:", "form:", "oauth:x"):
        with pytest.raises(ValueError, match="expected basic:USER, bearer"):
            LoginMethod.of(word)
    with pytest.raises(ValueError, match="with --secret") as refusal:
        LoginMethod.of("basic:ada:hunter2")
    assert "hunter2" not in str(refusal.value)


def test_a_secret_comes_from_where_its_reference_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    monkeypatch.setenv("SITE_PASSWORD", "from the environment")
    basic = LoginMethod.of("basic:ada")

    def secret(reference: str) -> object:
        login = login_arguments(basic, url=SITE, user="", secret=reference, fields=(), submit="")
        assert login["user"] == "ada"
        return login["secret"]

    assert secret("env:SITE_PASSWORD") == "from the environment"
    assert secret(f"file:{file}") == "from a file"
    for reference in ("hunter2", "env:NOT_SET_HERE", f"file:{tmp_path}/missing", ""):
        with pytest.raises(Invalid, match="--secret") as refusal:
            secret(reference)
        assert "hunter2" not in str(refusal.value)
    form = login_arguments(
        LoginMethod.of(f"form:{SITE}/login"),
        url="",
        user="ada",
        secret="",
        fields=["pin=env:SITE_PASSWORD", "stay=on"],
        submit="",
    )
    assert form["fields"] == {"pin": "from the environment", "stay": "on"}


def test_a_session_is_named_after_its_host() -> None:
    assert session_name_for("https://shop.example.org:8443/a?b") == "shop.example.org-8443"
    assert session_name_for("http://[::1]:80/") == "1--80"


@pytest.mark.parametrize("text", [JAR, json.dumps(STATE)], ids=["cookies.txt", "storage state"])
def test_cookies_are_read_from_a_file(text: str) -> None:
    sid, cart = cookies_in(text, NOW)
    assert (sid.name, sid.value, sid.domain, sid.host_only) == (
        "sid",
        "s3cret",
        "example.org",
        False,
    )
    assert (sid.secure, sid.path) == (True, "/")
    assert sid.expires is not None
    assert int(sid.expires.timestamp()) == LATER
    assert (cart.value, cart.host_only, cart.expires) == ("", True, None)
    assert all(cookie.created == NOW for cookie in (sid, cart))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "found none"),
        ("# only a comment\n", "found none"),
        ("a b c\n", "line 1: expected domain"),
        ("x.example\tFALSE\t/\tFALSE\tsoon\tn\tv\n", "line 1: expected an expiry"),
        ("x.example\tFALSE\t/\tFALSE\t1000\tn\ts3cret\n", "expired: 1 cookie"),
        ("x.example\tFALSE\t/\tFALSE\t0\tn\ts3cret\x01\n", "line 1: expected printable"),
        ("{", "JSON that is cut"),
        ('{"cookies": 3}', "whose cookies are a list"),
        ('[{"name": "n", "value": "s3cret"}]', "cookie 1: expected an object"),
    ],
)
def test_a_file_that_is_none_of_cookies_is_refused_without_its_values(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as refusal:
        cookies_in(text, NOW)
    assert "s3cret" not in str(refusal.value)


def test_rules_say_when_a_session_is_logged_out() -> None:
    assert rules_of(()).guesses
    assert rules_of(("never",)) == LoggedOutRules()
    rules = rules_of(("status:401", "status:4xx", "redirect:*/sso/*", "selector:a[href='/in']"))
    assert rules == LoggedOutRules(
        statuses=(401, 4), redirects=("*/sso/*",), selectors=("a[href='/in']",)
    )
    for words in (("401",), ("status:",), ("status:teapot",), ("never", "status:401")):
        with pytest.raises(Invalid, match="logged_out"):
            rules_of(words)


def test_a_login_page_is_told_by_its_path() -> None:
    for path in ("/login", "/users/sign_in", "/wp-login.php", "/account/SignIn/", "/sign-on;a=1"):
        assert LOGIN_PATH.search(path), path
    for path in ("/", "/blogging", "/logins-explained", "/design", "/logic", "/catalog-in-print"):
        assert not LOGIN_PATH.search(path), path


def a_watch(*rules: str) -> LogoutWatch:
    cookie = Cookie(name="sid", value="x", domain="shop.example.org", created=NOW)
    session = ActiveSession(
        label="shop@1",
        made_at=NOW,
        login_url=f"{SITE}/enter",
        state=SessionState(cookies=(cookie,)),
    )
    spec = JobSpec(urls=(f"{SITE}/",), session="shop", logged_out=rules)
    return LogoutWatch(spec, session)


def is_out(watch: LogoutWatch, url: str, status: int, location: str = "") -> bool:
    headers = [("Location", location)] if location else []
    try:
        target = Target(url, fingerprint(url), host_of(url))
        visit = Visit(target, Slot(RateLimiter(SystemClock()), target.host, 0.0))
        watch.check(visit, Response(status, headers, b"", 0, "", 1))
    except LoggedOut:
        return True
    return False


def test_an_answer_is_logged_out_by_the_rules_or_by_guess() -> None:
    guess = a_watch()
    assert is_out(guess, f"{SITE}/a", 401)
    assert not is_out(guess, f"{SITE}/a", 403)
    assert is_out(guess, f"{SITE}/a", 302, "/login?next=/a")
    assert is_out(guess, f"{SITE}/a", 302, "/enter?next=/a")
    assert is_out(guess, f"{SITE}/a", 303, "https://sso.example.net/signin")
    assert not is_out(guess, f"{SITE}/a", 302, "/b")
    assert not is_out(guess, f"{SITE}/login", 302, "/users/login")
    assert not is_out(guess, "https://other.example/a", 401)
    ruled = a_watch("redirect:*/sso/*", "status:4xx")
    assert is_out(ruled, f"{SITE}/a", 302, "/sso/start")
    assert is_out(ruled, f"{SITE}/a", 404)
    assert not is_out(ruled, f"{SITE}/a", 302, "/login")
    assert not is_out(a_watch("never"), f"{SITE}/a", 401)


def rule(url: str, **spec: object) -> str | None:
    job_spec = JobSpec(urls=(f"{SITE}/",), **spec)  # type: ignore[arg-type]
    return Boundary(job_spec, job_spec.urls).verdict(url, 1)


def test_a_logout_link_is_not_followed_while_logged_in() -> None:
    paths = (
        "/logout",
        "/users/sign_out",
        "/?action=log-off",
        "/SignOff.aspx",
        "/wp-login?do=logout",
    )
    for path in paths:
        assert rule(f"{SITE}{path}", session="shop") == LOGOUT_RULE, path
        assert rule(f"{SITE}{path}") is None, path
    for path in ("/logouts", "/catalog/outdoor", "/blog-offers", "/design-out"):
        assert rule(f"{SITE}{path}", session="shop") is None, path
    wide = rule(f"{SITE}/a/logout", session="shop", include=("*/a/*",))
    assert wide == LOGOUT_RULE
    assert rule(f"{SITE}/a/logout", session="shop", include=("*/a/logout",)) is None


PAGE = b"""<form action="/search"><input name=q></form>
<form action="/session" method=post><input type=hidden name=csrf value=abc>
<input name=tenant value=x><input type=email name=mail><input type=password name=pw>
<input type=checkbox name=stay><button name=go value=in>Log in</button></form>"""


def test_the_form_with_a_password_is_filled_in_with_all_it_holds() -> None:
    form = login_form(PAGE, None, f"{SITE}/login")
    assert form is not None
    assert (form.action, form.post) == (f"{SITE}/session", True)
    assert (form.user, form.password) == ("mail", "pw")
    sent = form.values_with({"mail": "ada", "pw": "s3cret"})
    assert sorted(sent) == [
        ("csrf", "abc"),
        ("go", "in"),
        ("mail", "ada"),
        ("pw", "s3cret"),
        ("tenant", "x"),
    ]
    chosen = login_form(PAGE, None, f"{SITE}/login", submit="form[action='/search']")
    assert chosen is not None
    assert (chosen.action, chosen.post, chosen.password) == (f"{SITE}/search", False, "")
    assert login_form(b"<p>nothing", None, f"{SITE}/login") is None
    assert login_form(PAGE, None, f"{SITE}/login", submit="#missing") is None
    with pytest.raises(Invalid, match="not a CSS selector"):
        login_form(PAGE, None, f"{SITE}/login", submit="[")
