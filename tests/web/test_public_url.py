"""Public URL of the server in responses, behind any proxy."""

from crawlyard.core.access.user import LOCAL
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.site import SiteOptions
from tests.web.rig import BASE, Rig, a_rig

PUBLIC = "https://yard.example.org"
HTML = {"Accept": "text/html"}


async def a_public_rig() -> Rig:
    """Return a server that is reached at PUBLIC, and by the proxy at 127.0.0.1."""
    hosts = ("127.0.0.1", "yard.example.org")
    options = SiteOptions(hosts=hosts, public_url=PUBLIC, rate_limits=False)
    return await a_rig(open_in_memory(), options)


async def test_openapi_and_the_reference_name_it(rig: Rig) -> None:
    public = await a_public_rig()
    openapi = (await public.get("openapi.json", by=None)).json()
    page = await public.get("docs", by=None)

    assert openapi["servers"] == [{"url": PUBLIC}]
    assert f"{PUBLIC}/api/v1/jobs" in page.text
    assert (await rig.get("openapi.json", by=None)).json()["servers"] == [{"url": "/"}]
    assert f"{BASE}/api/v1/jobs" in (await rig.get("docs", by=None)).text


async def test_who_has_not_signed_in_is_sent_there(rig: Rig) -> None:
    public = await a_public_rig()
    for at, place in [(public, f"{PUBLIC}/signin"), (rig, "/signin")]:
        answer = await at.get("/jobs?q=x", by=None, headers=HTML)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{place}?next=/jobs%3Fq%3Dx"


async def test_a_cookie_for_it_is_secure_and_one_for_loopback_is_not() -> None:
    rig = await a_public_rig()
    code = {"code": rig.secrets[LOCAL.id]}
    for host, name in [
        ("yard.example.org", "__Host-crawlyard"),
        ("Yard.Example.org", "__Host-crawlyard"),
        ("127.0.0.1:8700", "crawlyard"),
    ]:
        answer = await rig.post("auth/login", code, by=None, headers={"Host": host})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{name}="), host
        assert ("; Secure" in cookie) is (name == "__Host-crawlyard"), host


async def test_its_pages_may_ask_though_the_proxy_names_another_host(rig: Rig) -> None:
    public = await a_public_rig()
    for at, origin, status in [
        (public, PUBLIC, 201),
        (public, BASE, 201),
        (public, "https://evil.example", 403),
        (public, "null", 403),
        (rig, PUBLIC, 403),
        (rig, "null", 403),
    ]:
        login = await at.post("auth/login", {"code": at.secrets[LOCAL.id]}, by=None)
        cookie = login.headers["set-cookie"].partition(";")[0]
        headers = {"Cookie": cookie, "Origin": origin}
        answer = await at.post("views", {"name": origin}, by=None, headers=headers)
        assert answer.status_code == status, (origin, answer.text)
