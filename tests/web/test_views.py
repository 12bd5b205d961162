"""Saved views: filters under names, each user's own."""

from typing import Any

from msgspec import structs

from crawlyard.core.access.user import LOCAL
from crawlyard.core.access.view import SavedView
from crawlyard.store.store import Store
from tests.web.rig import Rig, pointers, problem

FAILED = {"name": "failed", "query": "state:failed"}


async def saved_view(rig: Rig, by: str = LOCAL.id, **body: str) -> str:
    answer = await rig.post("views", FAILED | body, by=by)
    assert answer.status_code == 201, answer.text
    view_id: str = answer.json()["id"]
    return view_id


async def test_a_view_is_kept_changed_and_deleted(rig: Rig) -> None:
    answer = await rig.post("views", {**FAILED, "page": "schedules"})
    view = answer.json()
    path = f"views/{view['id']}"

    renamed = await rig.ask("PATCH", path, json={"name": "broken"})
    listed = (await rig.get("views?page=schedules")).json()["items"]
    deleted = await rig.ask("DELETE", path)

    assert answer.headers["location"] == f"/api/v1/{path}"
    assert (view["version"], view["owner"], view["page"]) == (1, LOCAL.id, "schedules")
    assert (renamed.json()["name"], renamed.json()["query"]) == ("broken", "state:failed")
    assert listed == [renamed.json()]
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert problem(await rig.get(path)) == (404, "not_found")
    assert problem(await rig.ask("DELETE", path)) == (404, "not_found")


class OvertakenViews:
    """Views that another page of the dashboard changes just before they are first saved."""

    def __init__(self, store: Store, **change: str) -> None:
        self._views = store.views
        self._change = change

    def __getattr__(self, name: str) -> object:
        return getattr(self._views, name)

    async def save(self, view: SavedView) -> None:
        change, self._change = self._change, {}
        if change:
            before = await self._views.get(view.id)
            await self._views.save(structs.replace(before, version=view.version, **change))
        await self._views.save(view)


async def test_a_change_keeps_what_was_changed_meanwhile(rig: Rig) -> None:
    path = f"views/{await saved_view(rig)}"
    for headers, name, status in (({"If-Match": '"v1"'}, "mine", 412), ({}, "ours", 200)):
        views: Any = OvertakenViews(rig.yard.store, query="state:lost")
        racing = rig.with_services(store=rig.yard.store.with_parts(views=views))

        answer = await racing.ask("PATCH", path, json={"name": name}, headers=headers)

        assert answer.status_code == status, answer.text
    view = (await rig.get(path)).json()
    assert (view["name"], view["query"], view["version"]) == ("ours", "state:lost", 4)
    await saved_view(rig, name="taken")
    response = await rig.ask("PATCH", path, json={"name": "taken"})
    assert problem(response) == (409, "conflict")


async def test_they_are_listed_by_page_and_name(rig: Rig) -> None:
    for name, page in (("b", "jobs"), ("a", "jobs"), ("c", "events")):
        await saved_view(rig, name=name, page=page)
    every = (await rig.get("views")).json()["items"]
    assert [(view["page"], view["name"]) for view in every] == [
        ("events", "c"),
        ("jobs", "a"),
        ("jobs", "b"),
    ]
    assert (await rig.get("views?page=hosts")).json()["items"] == []


async def test_a_view_name_is_unique_per_page_and_user(rig: Rig) -> None:
    await rig.user("ada")
    await saved_view(rig)
    other = await saved_view(rig, name="other")

    assert problem(await rig.post("views", FAILED)) == (409, "conflict")
    response = await rig.ask("PATCH", f"views/{other}", json={"name": "failed"})
    assert problem(response) == (409, "conflict")
    await saved_view(rig, page="events")
    await saved_view(rig, "ada")


async def test_what_is_wrong_is_named(rig: Rig) -> None:
    for body, pointer in [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "a", "query": "x" * 2001}, "/query"),
        ({"name": "a", "page": "../x"}, "/page"),
        ({"name": "a", "filter": ""}, "/filter"),
    ]:
        answer = await rig.post("views", body)
        assert pointers(answer) == [pointer], body


async def test_a_user_has_only_so_many(rig: Rig) -> None:
    for n in range(200):
        await saved_view(rig, name=str(n))
    assert problem(await rig.post("views", FAILED)) == (429, "limit_exceeded")
