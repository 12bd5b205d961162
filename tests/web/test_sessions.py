"""Sessions at sites over HTTP: what is answered, what is refused, and what never comes out."""

from crawlyard.core.access.user import Role
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.rates import PER_MINUTE, Bucket
from crawlyard.web.site import SiteOptions
from tests.web.rig import URL, Rig, a_rig

SECRET = "s3cret-of-ada"
TOKEN = {"kind": "bearer", "url": URL, "secret": SECRET}
COOKIES = f".a.example\tTRUE\t/\tTRUE\t0\tsid\t{SECRET}\n"


async def put_session(rig: Rig, name: str, body: object, by: str = "ada", status: int = 200) -> str:
    answer = await rig.ask("PUT", f"sessions/{name}", by=by, json=body)
    assert answer.status_code == status, answer.text
    return answer.text


async def test_no_answer_event_or_row_has_a_secret(rig: Rig) -> None:
    await rig.user("ada")
    texts = await put_session(rig, "wiki", {**TOKEN, "kind": "basic", "user": "ada"})
    texts += await put_session(rig, "shop", {"kind": "cookies", "cookies": COOKIES})
    texts += await put_session(rig, "wiki", TOKEN)
    texts += await put_session(
        rig, "shop", {"kind": "cookies", "cookies": f"{COOKIES}\n{SECRET}"}, status=422
    )
    texts += await put_session(rig, "wiki", {**TOKEN, "secret": f"{SECRET}\n"}, status=422)
    texts += await put_session(rig, "wiki", {**TOKEN, "secrets": SECRET}, status=422)
    job = await rig.job("ada", session="wiki")
    for path in ("sessions", "sessions/wiki", f"jobs/{job['id']}", "events"):
        texts += (await rig.get(path, by="ada")).text
    assert '"wiki"' in texts
    assert SECRET not in texts
    [shop, wiki] = (await rig.get("sessions", by="ada")).json()["items"]
    assert (shop["version"], shop["origins"], shop["cookies"]) == (1, ["*.a.example"], 1)
    assert (wiki["version"], wiki["kind"], wiki["user"]) == (2, "bearer", "")
    stored = await rig.yard.store.site_sessions.get_by_name("ada", "wiki")
    assert stored is not None
    assert SECRET.encode() not in stored.sealed
    names = [e["name"] for e in (await rig.get("events?type=session.*", by="ada")).json()["items"]]
    assert sorted(names) == ["session.created", "session.created", "session.renewed"]


async def test_a_server_follows_no_reference(rig: Rig) -> None:
    await rig.user("ada")
    for secret in ("env:HOME", "file:/etc/hostname", "file:~/.ssh/id"):
        problem_ = await put_session(rig, "wiki", {**TOKEN, "secret": secret}, status=422)
        assert "only the command line follows references" in problem_
    form = {"kind": "form", "url": URL, "fields": {"pw": "env:HOME"}}
    assert "fields/pw" in await put_session(rig, "wiki", form, status=422)
    await put_session(rig, "wiki", {**TOKEN, "secret": "env:not/a/name"})


async def test_a_job_takes_a_session_of_its_owner_alone(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name, Role.OPERATOR)
    await put_session(rig, "wiki", TOKEN)
    form = {"urls": [URL], "session": "wiki"}
    for other in ("bob", "local"):
        refused = await rig.post("jobs", form, by=other)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/session"
    assert (await rig.post("jobs", form, by="ada")).status_code == 201
    rules = await rig.post("jobs", form | {"logged_out": ["teapot"]}, by="ada")
    assert rules.json()["errors"][0]["pointer"].startswith("/logged_out")


async def test_a_form_at_a_private_address_needs_a_grant(rig: Rig) -> None:
    await rig.user("ada")
    form = {"kind": "form", "url": "http://127.0.0.1:9/login", "user": "ada", "secret": SECRET}
    assert "is loopback" in await put_session(rig, "wiki", form, status=422)
    assert "grant" in await put_session(rig, "wiki", {**form, "allow_private": True}, status=403)


async def test_site_logins_have_the_rate_limit_of_previews() -> None:
    rig = await a_rig(open_in_memory(), SiteOptions(rate_limits=True))
    for _ in range(PER_MINUTE[Bucket.PREVIEW]):
        await put_session(rig, "wiki", TOKEN, by="local")
    assert "preview requests" in await put_session(rig, "wiki", TOKEN, by="local", status=429)
    assert (await rig.get("sessions")).status_code == 200
    assert (await rig.ask("DELETE", "sessions/wiki")).status_code == 204
