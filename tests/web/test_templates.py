"""Templates over HTTP: versions, sharing, filling, files."""

import json
from typing import Any

import pytest
from msgspec import structs

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.events.event import Event
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.store.queries import Carry
from crawlyard.store.store import Store
from tests.web.rig import URL, Rig, pointers, problem

ANY = {"If-Match": "*"}
SPEC: dict[str, Any] = {"urls": ["{{start_url}}"], "limits": {"pages": "{{pages}}"}}
PARAMETERS: dict[str, Any] = {
    "start_url": {"type": "url", "required": True},
    "pages": {"type": "integer", "default": 200},
}
NEWS = {"name": "news", "spec": SPEC, "parameters": PARAMETERS}
SECRET = {"urls": [URL], "headers": {"Authorization": "Bearer hunter2"}}


async def a_template(rig: Rig, by: str = LOCAL.id, **fields: Any) -> dict[str, Any]:
    answer = await rig.post("templates", {"name": "plain", "spec": {"urls": [URL]}} | fields, by=by)
    assert answer.status_code == 201, answer.text
    template: dict[str, Any] = answer.json()
    return template


async def patched(rig: Rig, ref: str, change: object, **more: Any) -> Any:
    return await rig.ask("PATCH", f"templates/{ref}", json=change, **({"headers": ANY} | more))


async def test_a_template_is_made_and_found_by_id_and_name(rig: Rig) -> None:
    answer = await rig.post("templates", NEWS)

    template = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/templates/{template['id']}"
    assert (answer.headers["etag"], template["version"], template["public"]) == ('"v1"', 1, False)
    for ref in (template["id"], template["id"].upper(), "news", "local%2Fnews", "local%2fnews"):
        assert (await rig.get(f"templates/{ref}")).json() == template


@pytest.mark.parametrize("name", ["50% off", "größe 日本", "a+b&c=d?e#f", "x%2Fy"])
async def test_any_name_that_a_template_can_have_is_found(rig: Rig, name: str) -> None:
    template = await a_template(rig, name=name)
    quoted = name.replace("%", "%25").replace("#", "%23").replace("?", "%3F")
    for ref in (quoted, f"local%2F{quoted}"):
        response = await rig.get(f"templates/{ref}/versions?limit=1")
        assert [version["id"] for version in response.json()["items"]] == [template["id"]]


@pytest.mark.parametrize("ref", ["größe 日本 <50%25>", "local%2Fgröße 日本 <50%25>"])
async def test_a_next_link_works_for_any_template_name(rig: Rig, ref: str) -> None:
    template = await a_template(rig, name="größe 日本 <50%>")
    await patched(rig, template["id"], {"description": "two"})

    first = await rig.get(f"templates/{ref}/versions?limit=1")
    link = first.headers["link"].removeprefix("<").partition(">")[0]
    second = await rig.get(link)

    assert [version["version"] for version in first.json()["items"]] == [2]
    assert [version["version"] for version in second.json()["items"]] == [1]


async def test_what_is_wrong_is_named(rig: Rig) -> None:
    for body, pointer in [
        ({"spec": {"urls": [URL]}}, "/name"),
        ({"name": "a/b"}, "/name"),
        ({"name": "a", "description": "x" * 2_001}, "/description"),
        ({"name": "a", "specs": {}}, "/specs"),
        ({"name": "a", "spec": []}, "/spec"),
        ({"name": "a", "spec": {"limits": {"pages": 0}}}, "/spec/limits/pages"),
        ({"name": "a", "spec": {"urls": ["{{x}}"]}}, "/spec/urls/0"),
        ({"name": "a", "spec": {"headers": {"Authorization": "***"}}}, "/spec/headers"),
        ({"name": "a", "parameters": {"x": {"type": "colour"}}}, "/parameters/x/type"),
        ({"name": "a", "parameters": {"x": {}}}, "/parameters/x"),
        ({"name": "a", "parameters": [{}]}, "/parameters/0/name"),
    ]:
        response = await rig.post("templates", body)
        checked = await rig.post("templates/validate", body)

        for answer in (response, checked):
            assert pointers(answer) == [pointer], body
        assert (await rig.get("templates")).json()["items"] == [], body


async def test_fields_and_a_file_are_converted_both_ways_and_keep_what_was_sent(rig: Rig) -> None:
    body = {"name": "x", "spec": SECRET}

    conversion = (await rig.post("templates/convert", body)).json()
    back = (await rig.post("templates/convert", {"content": conversion["content"]})).json()
    faulty = await rig.post("templates/convert", {"content": "name: x\nspec: {pages: 1}\n"})

    assert conversion["template"] == back["template"] == body
    assert pointers(faulty) == ["/content"]
    response = await rig.post("templates/convert", {"content": conversion["content"], **body})
    assert pointers(response) == ["/name"]
    once = {"headers": {"Idempotency-Key": "k"}}
    for _ in range(2):  # an answer with credentials is not kept for a repetition
        answer = await rig.post("templates/convert", body, **once)
        assert "idempotency-replayed" not in answer.headers


async def test_a_list_comes_by_name_in_pages(rig: Rig) -> None:
    for name in "dbac":
        await a_template(rig, name=name)

    first = (await rig.get("templates?limit=3")).json()
    behind = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await rig.get("templates", params=behind)).json()

    assert [template["name"] for page in (first, second) for template in page["items"]] == list(
        "abcd"
    )
    assert second["has_more"] is False


async def test_a_list_has_ones_own_and_what_others_have_published(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name)
        await a_template(rig, name, name=f"{name} private")
        await a_template(rig, name, name=f"{name} public")
        await rig.post(f"templates/{name}%20public/publish", by=name)

    async def names(query: str, by: str = "ada") -> list[str]:
        templates = (await rig.get(f"templates{query}", by=by)).json()["items"]
        return [template["name"] for template in templates]

    assert await names("") == ["ada private", "ada public", "bob public"]
    assert await names("?owner=me") == ["ada private", "ada public"]
    assert await names("?owner=bob") == ["bob public"]
    assert await names("?visibility=private") == ["ada private"]
    assert await names("?visibility=public&q=BOB") == ["bob public"]
    assert len(await names("", LOCAL.id)) == 4
    assert problem(await rig.get("templates?visibility=all")) == (422, "validation_failed")


class OvertakenTemplates:
    """Template store with a concurrent change just before the first save."""

    def __init__(self, store: Store) -> None:
        self._templates = store.templates
        self._begun = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._templates, name)

    async def save(self, template: CrawlTemplate, event: Event, carry: Carry | None) -> None:
        await self._overtake(template.id, event)
        await self._templates.save(template, event, carry)

    async def delete(self, template_id: str, version: int, event: Event, seen_by: str) -> None:
        await self._overtake(template_id, event)
        await self._templates.delete(template_id, version, event, seen_by)

    async def _overtake(self, template_id: str, event: Event) -> None:
        if not self._begun:
            self._begun = True
            old = await self._templates.get(template_id)
            new = structs.replace(old, description="theirs", version=old.version + 1)
            await self._templates.save(new, event)


def overtaken(rig: Rig) -> Rig:
    templates: Any = OvertakenTemplates(rig.yard.store)
    store = rig.yard.store.with_parts(templates=templates)
    return rig.with_services(store=store)


async def test_any_version_is_deleted_although_it_was_changed_meanwhile(rig: Rig) -> None:
    path = f"templates/{(await a_template(rig))['id']}"
    late = await overtaken(rig).ask("DELETE", path, headers={"If-Match": '"v1"'})
    any_version = await overtaken(rig).ask("DELETE", path, headers=ANY)
    assert (late.status_code, any_version.status_code) == (412, 204)
    assert problem(await rig.get(path)) == (404, "not_found")


async def test_a_change_of_any_version_keeps_what_was_changed_meanwhile(rig: Rig) -> None:
    template = await a_template(rig)
    for version, status, depth in (('"v1"', 412, None), ("*", 200, 3)):
        change = {"spec": {"max_depth": 3}}

        answer = await patched(
            overtaken(rig), template["id"], change, headers={"If-Match": version}
        )

        assert answer.status_code == status, answer.text
        stored_template = (await rig.get(f"templates/{template['id']}")).json()
        assert (stored_template["description"], stored_template["spec"].get("max_depth")) == (
            "theirs",
            depth,
        )


async def test_a_change_says_what_it_was_made_from(rig: Rig) -> None:
    template = await a_template(rig)
    path = template["id"]
    headers = {"If-Match": '"v1"'}

    without = await patched(rig, path, {"description": "x"}, headers={})
    first = await patched(rig, path, {"description": "x"}, headers=headers)
    late = await patched(rig, path, {"description": "y"}, headers=headers)
    undeleted = await rig.ask("DELETE", f"templates/{path}")
    deleted_late = await rig.ask("DELETE", f"templates/{path}", headers=headers)

    assert problem(without) == (428, "precondition_required")
    assert (first.status_code, first.headers["etag"], first.json()["version"]) == (200, '"v2"', 2)
    assert problem(late) == (412, "precondition_failed")
    assert late.json()["current_version"] == 2
    assert problem(undeleted) == (428, "precondition_required")
    assert problem(deleted_late) == (412, "precondition_failed")
    assert (await rig.ask("DELETE", f"templates/{path}", headers=ANY)).status_code == 204
    assert problem(await rig.get(f"templates/{path}")) == (404, "not_found")


async def test_absent_stays_and_null_takes_away(rig: Rig) -> None:
    await rig.post("templates", NEWS | {"description": "All front pages"})

    change = {
        "description": None,
        "parameters": {"pages": None},
        "spec": {"limits": {"pages": None, "bytes": 1000}},
    }
    answer = await patched(rig, "news", change)

    changed = answer.json()
    assert changed["description"] == ""
    assert [parameter["name"] for parameter in changed["parameters"]] == ["start_url"]
    assert changed["spec"] == {"urls": ["{{start_url}}"], "limits": {"bytes": 1000}}
    assert changed["stripped"] == []
    nameless = await patched(rig, "news", {"name": None})
    assert pointers(nameless) == ["/name"]


async def test_a_hidden_credential_is_kept_by_a_change_beside_it(rig: Rig) -> None:
    template = await a_template(rig, spec=SECRET)
    changed = (await patched(rig, template["id"], {"spec": {"limits": {"pages": 5}}})).json()
    file = (await rig.get(f"templates/{template['id']}/export?format=json")).json()
    assert template["spec"]["headers"] == {"Authorization": "***"}
    assert changed["spec"]["headers"] == {"Authorization": "***"}
    assert file["spec"]["headers"] == {"Authorization": "Bearer hunter2"}


async def test_a_parameter_that_fills_a_credential_shows_no_values(rig: Rig) -> None:
    key = {"name": "key", "default": "one", "allowed": ["one", "two"]}
    spec = {"urls": [URL], "headers": {"Authorization": "Bearer {{key}}"}}
    template = await a_template(rig, spec=spec, parameters=[key])
    [parameter] = template["parameters"]
    assert (parameter["default"], parameter["allowed"]) == ("***", ["***", "***"])


async def test_a_name_that_is_taken_is_a_conflict(rig: Rig) -> None:
    await a_template(rig, name="a")
    await a_template(rig, name="b")
    twice = await rig.post("templates", {"name": "a", "spec": {"urls": [URL]}})
    renamed = await patched(rig, "b", {"name": "a"})
    assert problem(twice) == (409, "conflict")
    assert problem(renamed) == (409, "conflict")


async def test_versions_are_kept_and_one_is_restored(rig: Rig) -> None:
    await a_template(rig, description="one")
    await patched(rig, "plain", {"description": "two"})

    listed = (await rig.get("templates/plain/versions?limit=1")).json()
    rest = await rig.get("templates/plain/versions", params={"cursor": listed["next_cursor"]})
    first = (await rig.get("templates/plain/versions/1")).json()
    same = await rig.get("templates/plain/versions/1", headers={"If-None-Match": '"v1"'})
    restored = await rig.post("templates/plain/versions/1/restore")
    again = await rig.post("templates/plain/versions/1/restore")

    assert [listed["items"][0]["version"], rest.json()["items"][0]["version"]] == [2, 1]
    assert (first["version"], first["description"], same.status_code) == (1, "one", 304)
    assert (restored.status_code, restored.json()["version"]) == (202, 3)
    assert restored.json()["description"] == "one"
    assert (again.status_code, again.json()["version"]) == (200, 3)
    for missing in ("4", "0", "99999999999", "x"):
        answer = await rig.get(f"templates/plain/versions/{missing}")
        assert problem(answer)[0] in {404, 422}
        restore = await rig.post(f"templates/plain/versions/{missing}/restore")
        assert problem(restore)[0] in {404, 422}


async def test_publishing_names_the_credentials_that_it_takes_out(rig: Rig) -> None:
    await rig.user("bob")
    await a_template(rig, spec=SECRET)

    published = await rig.post("templates/plain/publish")
    again = await rig.post("templates/plain/publish")

    assert (published.status_code, published.headers["etag"]) == (202, '"v2"')
    assert published.json()["stripped"] == ["headers.Authorization"]
    assert again.status_code == 200
    response = await rig.get("templates/local%2Fplain", by="bob")
    assert "headers" not in response.json()["spec"] or response.json()["spec"]["headers"] == {}
    for earlier in (
        await rig.get("templates/local%2Fplain/versions/1", by="bob"),
        await rig.post("templates/local%2Fplain/render", {"version": 1}, by="bob"),
        await rig.post("templates/local%2Fplain/duplicate", {"version": 1}, by="bob"),
    ):
        assert problem(earlier) == (404, "not_found")
    assert len((await rig.get("templates/local%2Fplain/versions", by="bob")).json()["items"]) == 1

    private = await rig.post("templates/plain/unpublish")
    assert (private.status_code, private.json()["public"]) == (202, False)
    assert (await rig.post("templates/plain/unpublish")).status_code == 200
    assert problem(await rig.get("templates/local%2Fplain", by="bob")) == (404, "not_found")


async def test_publishing_lists_the_schedules_that_keep_credentials_and_is_confirmed(
    rig: Rig,
) -> None:
    spec = {"urls": [URL], "headers": {"Authorization": "Bearer {{token}}"}}
    template = await a_template(rig, spec=spec, parameters={"token": {"default": "hunter2"}})
    schedule = {"name": "nightly", "when": "@daily", "template": "plain"}
    scheduled = (await rig.post("schedules", schedule)).json()

    response = await rig.post("templates/plain/publish")
    same = await rig.get(f"templates/{template['id']}")
    confirmed = await rig.post("templates/plain/publish?confirm=true")

    schedules = [{"schedule_id": scheduled["id"], "name": "nightly", "fields": ["params.token"]}]
    assert problem(response) == (409, "confirmation_required")
    assert response.json()["schedules"] == schedules
    assert same.json()["public"] is False
    assert (confirmed.status_code, confirmed.json()["kept"]) == (202, schedules)
    after = await rig.get(f"schedules/{scheduled['id']}")
    assert after.json()["params"] == {"token": "***"}
    assert "hunter2" not in response.text + confirmed.text + after.text


async def test_anybody_may_copy_what_he_sees(rig: Rig) -> None:
    await rig.user("bob")
    await a_template(rig)
    await rig.post("templates/plain/publish")

    copy = await rig.post("templates/local%2Fplain/duplicate", by="bob")
    named = await rig.post("templates/local%2Fplain/duplicate", {"name": "mine"}, by="bob")
    response = await rig.post("templates/local%2Fplain/duplicate", {"name": "mine"}, by="bob")
    wrong = await rig.post("templates/local%2Fplain/duplicate", {"name": "a/b"}, by="bob")

    assert copy.status_code == 201
    assert copy.headers["location"] == f"/api/v1/templates/{copy.json()['id']}"
    names = ("owner", "name", "public", "version", "spec")
    fields = {name: copy.json()[name] for name in names}
    own = {"owner": "bob", "name": "plain copy", "public": False, "version": 1}
    assert fields == own | {"spec": {"urls": [URL]}}
    assert named.json()["name"] == "mine"
    assert problem(response) == (409, "conflict")
    assert wrong.json()["errors"][0]["pointer"] == "/name"


async def test_a_template_is_filled_and_says_where_each_value_comes_from(rig: Rig) -> None:
    await rig.post("templates", NEWS)

    answer = await rig.post(
        "templates/news/render", {"params": {"start_url": URL}, "overrides": {"max_depth": 2}}
    )

    rendered = answer.json()
    assert answer.status_code == 200, answer.text
    assert (rendered["template_version"], rendered["spec"]["urls"]) == (1, [URL])
    sources = rendered["sources"]
    assert (sources["limits.pages"], sources["max_depth"]) == ("template v1", "this job")
    assert (await rig.get("jobs")).json()["items"] == []


async def test_what_a_template_cannot_be_filled_with_is_named(rig: Rig) -> None:
    await rig.post("templates", NEWS)
    for ask, pointer in [
        ({}, "/params/start_url"),
        ({"params": {"start_url": "x"}}, "/params/start_url"),
        ({"params": {"start_url": URL, "page": 1}}, "/params/page"),
        ({"params": {"start_url": URL, "pages": 0}}, "/params/pages"),
        (
            {"params": {"start_url": URL}, "overrides": {"limits": {"errors": 0}}},
            "/overrides/limits/errors",
        ),
        ({"params": {"start_url": URL}, "overrides": {"delay": -1}}, "/overrides/delay"),
        ({"params": {"start_url": URL}, "override": {}}, "/override"),
        ({"params": []}, "/params"),
        ({"version": 0}, "/version"),
    ]:
        answer = await rig.post("templates/news/render", ask)
        assert pointers(answer) == [pointer], ask


@pytest.mark.parametrize("form", ["yaml", "json"])
async def test_what_is_given_out_can_be_taken_in(rig: Rig, form: str) -> None:
    template = (await rig.post("templates", NEWS | {"name": "Größe: etc passwd"})).json()

    file = await rig.get(f"templates/{template['id']}/export?format={form}")
    await rig.ask("DELETE", f"templates/{template['id']}", headers=ANY)
    response = await rig.post("templates/import", {"content": file.text, "format": form})

    assert file.headers["content-type"].partition(";")[0] == f"application/{form}"
    name = f'attachment; filename="gr-e-etc-passwd-v1.{form}"'
    assert file.headers["content-disposition"] == name
    assert response.status_code == 201, response.text
    for field in ("name", "spec", "parameters"):
        assert response.json()[field] == template[field]


async def test_a_file_has_credentials_for_those_alone_who_may_change_it(rig: Rig) -> None:
    await rig.user("ada")
    await a_template(rig, "ada", spec=SECRET)
    reader = await rig.token("ada", frozenset({Permit.TEMPLATES_READ}))

    own = await rig.get("templates/plain/export", by="ada")
    read_only = await rig.get("templates/plain/export", secret=reader)
    admins = await rig.get("templates/ada%2Fplain/export")

    assert "hunter2" in own.text
    assert "hunter2" in admins.text
    assert read_only.status_code == 200
    assert "hunter2" not in read_only.text
    assert (await rig.post("templates/validate", {"content": read_only.text})).status_code == 200


async def test_an_invalid_file_is_refused_with_a_reason(rig: Rig) -> None:
    for content, message in [
        ("name: [", "invalid YAML"),
        ('{"name": "a", "name": "b"}', "duplicate"),
        ("a: &a [1]\nb: *a\n", "alias"),
        ("name: x\nspec: !!python/object/apply:os.system [id]\n", "invalid YAML"),
        ("name: x\nspec: {limits: {pages: 0}}\n", "limits.pages"),
        ('{"name": "x", "description": "\\ud800", "spec": {"urls": ["https://a.de/"]}}', "half"),
        ("- a\n- b\n", "expected an object"),
        ("", "expected an object"),
        ("[" * 200, "invalid YAML"),
        ('{"a":' * 30_000, "invalid JSON"),
        ("name: " + "x" * (2 << 20), "at most"),
    ]:
        for path in ("templates/import", "templates/validate"):
            answer = await rig.post(path, {"content": content})

            assert pointers(answer) == ["/content"], content
            assert message in answer.json()["detail"], content
        assert (await rig.get("templates")).json()["items"] == [], content


async def test_a_file_may_be_larger_than_other_bodies_and_not_without_end(rig: Rig) -> None:
    urls = [f"https://example.com/{n:0500}" for n in range(1_900)]
    file = json.dumps({"name": "large", "spec": {"urls": urls[:1]}, "description": "x"})
    padded = file + " " * 600_000 + "\n" * 300_000

    response = await rig.post("templates/validate", {"content": padded[:999_000]})
    beside = await rig.post("templates", {"name": "large", "spec": {"urls": urls * 2}})
    without_end = await rig.post("templates/import", {"content": " " * (5 << 20)})

    assert response.status_code == 200, response.text
    assert problem(beside) == (413, "payload_too_large")
    assert problem(without_end) == (413, "payload_too_large")


async def test_a_file_is_said_to_be_of_its_format(rig: Rig) -> None:
    answer = await rig.post("templates/import", {"content": "name: x", "format": "json"})
    unknown = await rig.post("templates/import", {"content": "name: x", "format": "toml"})
    wrong = await rig.post("templates/validate", {"content": 5})
    more = await rig.post("templates/validate", {"content": "name: x", "name": "x"})

    assert answer.json()["errors"][0]["pointer"] == "/content"
    assert unknown.json()["errors"][0]["pointer"] == "/format"
    assert wrong.json()["errors"][0]["pointer"] == "/content"
    assert more.json()["errors"][0]["pointer"] == "/name"


async def test_validation_lists_credentials_to_remove_and_stores_nothing(rig: Rig) -> None:
    answer = await rig.post("templates/validate", {"name": "x", "spec": SECRET})
    checked = answer.json()
    assert answer.status_code == 200, answer.text
    assert checked["credentials"] == ["headers.Authorization"]
    assert "hunter2" not in answer.text
    assert (await rig.get("templates")).json()["items"] == []


async def test_what_is_taken_in_opens_no_way_inside(rig: Rig) -> None:
    await rig.user("ada")
    urls = ["http://169.254.169.254/latest/meta-data", "http://[::1]/", "http://localhost/"]

    for number, url in enumerate(urls):
        content = json.dumps({"name": f"t{number}", "spec": {"urls": [url]}})
        response = await rig.post("templates/import", {"content": content}, by="ada")
        assert response.status_code in {201, 422}
        if response.status_code == 201:
            submitted = await rig.post("jobs", {"template": f"t{number}"}, by="ada")
            assert problem(submitted) == (422, "validation_failed")
            scheduled = {"name": "s", "when": "@daily", "template": f"t{number}"}
            assert problem(await rig.post("schedules", scheduled, by="ada"))[0] == 422
    assert (await rig.get("jobs", by="ada")).json()["items"] == []


async def test_what_is_no_number_of_json_is_refused(rig: Rig) -> None:
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "1E+0400"]:
        content = f'{{"name": "x", "spec": {{"urls": ["https://a.example/"], "retry": {number}}}}}'
        answer = await rig.ask(
            "POST", "templates", content=content, headers={"Content-Type": "application/json"}
        )
        assert problem(answer) == (400, "malformed"), number


async def test_a_name_with_nul_is_refused(rig: Rig) -> None:
    assert problem(await rig.get("templates/a%00b")) == (400, "malformed")
    assert problem(await rig.get("templates?q=%00")) == (400, "malformed")
    assert problem(await rig.get("templates/a%0Ab")) == (404, "not_found")
