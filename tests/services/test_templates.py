"""`Templates`: ownership, versions, and the specs of jobs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.endpoints.endpoint import methods_of
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.spec_json import FIELDS, form_of, spec_of
from crawlyard.core.templates.answers import TemplateOut
from crawlyard.core.templates.template import (
    CrawlTemplate,
    ParameterType,
    TemplateDraft,
    TemplateParameter,
)
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, NotFound
from crawlyard.services.templates.files import check_draft, data_of
from crawlyard.services.templates.rendering import render_template
from crawlyard.services.templates.templates import Templates
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.queries import EVERY_EVENT, TemplateQuery
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_templates import PAGES, START_URL, a_draft, a_plain_draft, rewrite
from tests.clock import FakeClock
from tests.conformance.conftest import Backend
from tests.services.schedule_rig import ScheduleRig, a_rig

ADA, BOB = Actor(id="ada"), Actor(id="bob")
VIEWER = Actor(id="ada", role=Role.VIEWER)

SECRET = {"urls": ["https://example.com/"], "headers": {"Authorization": "Bearer s3cret"}}


@pytest.fixture
def store() -> Store:
    return open_in_memory()


@pytest.fixture
def rig(store: Store, clock: FakeClock) -> ScheduleRig:
    return a_rig(store, clock)


async def add(rig: ScheduleRig, actor: Actor, draft: TemplateDraft) -> CrawlTemplate:
    """Return a new template of an actor, as it is stored."""
    template = await rig.templates(actor).create(data_of(draft))
    return await rig.store.templates.get(template.id)


# --- owner rules: who asks for what over HTTP is in tests/web/test_matrix.py

Call = Callable[[Templates, str], Awaitable[object]]

CHANGES: dict[str, Call] = {
    "duplicate": lambda t, ref: t.duplicate(ref),
    "edit": lambda t, ref: t.edit(ref, {"description": "x"}, version=None),
    "publish": lambda t, ref: t.publish(ref),
    "unpublish": lambda t, ref: t.unpublish(ref),
    "restore": lambda t, ref: t.restore(ref, 1),
    "delete": lambda t, ref: t.delete(ref, version=None),
    "deletable": lambda t, ref: t.deletable(ref),
}
OTHERS = {"get", "list", "versions", "version", "render", "export"}
NEW = {"create", "import_"}
NONE = {"validate", "convert"}  # of no template


def test_every_method_has_its_row() -> None:
    assert methods_of(Templates).keys() == {*CHANGES, *OTHERS, *NEW, *NONE}


async def everything(store: Store) -> tuple[list[CrawlTemplate], list[Event]]:
    templates = await store.templates.find(TemplateQuery(), 100)
    versions = [v for t in templates for v in await store.templates.versions(t.id)]
    return versions, await store.events.events(EVERY_EVENT)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_viewer_cannot_change_even_own_templates(rig: ScheduleRig, name: str) -> None:
    mine = await add(rig, ADA, a_plain_draft())
    with pytest.raises(Forbidden):
        await CHANGES[name](rig.templates(VIEWER), mine.id)
    with pytest.raises(Forbidden):
        await add(rig, VIEWER, a_plain_draft(name="other"))


async def test_a_private_template_is_found_by_none_of_its_names(rig: ScheduleRig) -> None:
    mine = await add(rig, ADA, a_plain_draft())
    for ref in (mine.id, "ada/plain", "plain"):
        with pytest.raises(NotFound) as refused:
            await rig.templates(BOB).get(ref)
        assert "ada" not in str(refused.value).replace(ref, "")


# --- names


async def test_a_name_is_first_ones_own(rig: ScheduleRig) -> None:
    of_ada = await add(rig, ADA, a_plain_draft())
    await rig.templates(ADA).publish("plain")

    with pytest.raises(NotFound, match="there is no template plain; there is ada/plain"):
        await rig.templates(BOB).get("plain")
    own = await add(rig, BOB, a_plain_draft())

    assert (await rig.templates(BOB).get("plain")).id == own.id
    assert (await rig.templates(BOB).get("ada/plain")).id == of_ada.id
    assert (await rig.templates(BOB).get(of_ada.id.upper())).id == of_ada.id


async def test_a_copy_gets_a_name_that_is_free(rig: ScheduleRig) -> None:
    await add(rig, ADA, a_plain_draft(name="x" * 100))
    names = [(await rig.templates(ADA).duplicate("x" * 100)).name for _ in range(3)]
    stem = "x" * 88
    assert names == [f"{stem} copy", f"{stem} copy 2", f"{stem} copy 3"]


async def test_copies_that_are_made_at_once_get_a_name_each(backend: Backend) -> None:
    store = await backend.open()
    rig = a_rig(store, FakeClock())
    await add(rig, ADA, a_plain_draft())

    copies = await asyncio.gather(*(rig.templates(ADA).duplicate("plain") for _ in range(4)))

    names = {copy.name for copy in copies}
    assert names == {"plain copy", "plain copy 2", "plain copy 3", "plain copy 4"}
    with pytest.raises(Conflict):
        await rig.templates(ADA).duplicate("plain", name="plain copy")
    await store.close()


# --- versions


async def test_every_update_is_a_new_version(
    store: Store, rig: ScheduleRig, clock: FakeClock
) -> None:
    first = await add(rig, ADA, a_plain_draft())
    await clock.advance(timedelta(hours=1))

    saved = await rewrite(rig.templates(LOCAL), first.id, a_draft(name="other"), version=1)

    second = await store.templates.get(saved.id)
    assert (second.version, second.owner, second.actor) == (2, "ada", "local")
    assert (second.created_at, second.updated_at) == (NOW, NOW + timedelta(hours=1))
    assert await rig.templates(ADA).version(first.id, 1) == TemplateOut.of(first)
    [created, updated] = await store.events.events()
    assert (created.name, updated.name) == ("template.created", "template.updated")
    assert (updated.subject, updated.owner, updated.actor) == (first.id, "ada", "local")
    assert updated.data == {"name": "other", "version": 2, "public": False}


async def test_an_update_that_says_the_same_makes_no_version(
    store: Store, rig: ScheduleRig
) -> None:
    first = await add(rig, ADA, a_draft())
    saved = await rewrite(rig.templates(ADA), first.id, a_draft())
    assert saved.version == 1
    assert await store.templates.get(first.id) == first
    assert len(await store.events.events()) == 1


async def test_an_earlier_version_is_restored_under_the_name_of_now(
    rig: ScheduleRig,
) -> None:
    mine = await add(rig, ADA, a_draft(description="1"))
    await rewrite(rig.templates(ADA), mine.id, a_plain_draft())

    restored = await rig.store.templates.get((await rig.templates(ADA).restore(mine.id, 1)).id)

    assert (restored.version, restored.name) == (3, "plain")
    assert restored.draft == a_draft(name="plain", description="1")
    with pytest.raises(NotFound, match="no version 9 of"):
        await rig.templates(ADA).restore(mine.id, 9)
    for none in (0, -1, 10**30):
        with pytest.raises(Invalid, match="version"):
            await rig.templates(ADA).restore(mine.id, none)


async def test_what_cannot_be_crawled_is_not_kept(
    store: Store, rig: ScheduleRig, subtests: pytest.Subtests
) -> None:
    mine = await add(rig, ADA, a_plain_draft())
    for spec, field in [
        ({"include": ["re:("]}, "include"),
        ({"urls": ["ftp://a.example/"]}, "urls"),
        ({"sitemaps": ["ftp://a.example/"]}, "sitemaps"),
        ({"webhooks": ["ftp://a.example/"]}, "webhooks.0.url"),
        ({"webhooks": ["https://a.example/", "https://u:p@a.example/"]}, "webhooks.1.url"),
        ({"webhooks": [{"url": "https://a.example/", "events": ["nope"]}]}, "webhooks.0.events"),
        ({"webhooks": [{"url": "https://a.example/", "events": []}]}, "webhooks.0.events"),
        ({"webhooks": [{"url": "https://a.example/", "secret": "x"}]}, "webhooks.0.secret"),
    ]:
        bad = a_plain_draft(spec=spec)

        for doing in (add(rig, ADA, bad), rewrite(rig.templates(ADA), mine.id, bad)):
            with subtests.test(spec=spec), pytest.raises(Invalid) as refused:
                await doing
            assert refused.value.field == f"spec.{field}", spec

        assert len((await everything(store))[0]) == 1, spec


def test_a_job_may_open_a_private_address_and_a_webhook_may_be_left_open() -> None:
    spec = {"urls": ["http://127.0.0.1:8000/"], "webhooks": ["http://127.0.0.1:9000/"]}
    check_draft(a_plain_draft(spec=spec))

    hook = {"url": "https://{{p}}/", "events": ["{{p}}"], "secret": "{{p}}"}
    check_draft(
        a_plain_draft(
            spec={"webhooks": [hook, {"url": "https://a.example/", "events": ["{{p}}"]}]},
            parameters=(TemplateParameter(name="p", required=True),),
        )
    )


# --- publishing


async def test_credentials_do_not_come_back_by_an_update_or_an_earlier_version(
    store: Store, rig: ScheduleRig
) -> None:
    mine = await add(rig, ADA, a_plain_draft(spec=SECRET))
    await rig.templates(ADA).publish(mine.id)

    updated = await rewrite(rig.templates(ADA), mine.id, a_plain_draft(spec=SECRET | {"name": "x"}))
    restored = await rig.templates(ADA).restore(mine.id, 1)

    assert updated.stripped == restored.stripped == ("headers.Authorization",)
    public = [t for t in await store.templates.versions(mine.id) if t.public]
    assert len(public) == 3
    assert "s3cret" not in str(public)


async def test_a_webhook_is_not_published(rig: ScheduleRig) -> None:
    spec = {"urls": ["https://a.example/"], "webhooks": ["https://hooks.example/s3cret"]}
    await add(rig, ADA, a_plain_draft(spec=spec))
    saved = await rig.templates(ADA).publish("plain")
    assert saved.stripped == ("webhooks.0",)
    assert (await render_template(rig.store, BOB, "ada/plain")).spec.webhooks == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "session={{token}}"},
        {"Cookie": "s3cret {{token}}"},
        {"Authorization": "Bearer {{token}}"},
    ],
)
async def test_what_is_published_can_be_copied_edited_and_restored(
    rig: ScheduleRig, headers: dict[str, str]
) -> None:
    token = TemplateParameter(name="token", required=True)
    spec = {"urls": ["https://a.example/"], "headers": headers}
    mine = await add(rig, ADA, a_plain_draft(spec=spec, parameters=(token,)))
    await rig.templates(ADA).publish(mine.id)
    public = await rig.store.templates.get(mine.id)

    copy = await rig.templates(BOB).duplicate("ada/plain")
    edited = await rig.templates(ADA).edit(mine.id, {"description": "x"}, version=None)
    await rig.templates(ADA).restore(mine.id, 1)

    copied, restored = [await rig.store.templates.get(key) for key in (copy.id, mine.id)]
    assert copied.draft == replace(public.draft, name="plain copy")
    assert edited.version == 3
    assert restored.draft == public.draft
    params = {"token": "x"} if public.parameters else {}
    await render_template(rig.store, BOB, "ada/plain", params)


# --- filling


async def test_a_job_wins_over_the_template_and_that_over_the_defaults(
    rig: ScheduleRig,
) -> None:
    spec = {"urls": ["{{start_url}}"], "limits": {"pages": "{{pages}}", "errors": 9}, "delay": "2s"}
    mine = await add(rig, ADA, a_draft(spec=spec))
    params = {"start_url": "https://a.example/", "pages": "7"}

    rendered = await render_template(
        rig.store, ADA, "news", params, {"limits": {"errors": 3}, "delay_s": 5, "name": "mine"}
    )

    assert rendered.spec == spec_of(
        {
            "urls": ["https://a.example/"],
            "limits": {"pages": 7, "errors": 3},
            "delay_s": 5,
            "name": "mine",
        }
    )
    assert rendered.form == form_of(rendered.spec)
    assert {p: s for p, s in rendered.sources.items() if s != "default"} == {
        "urls": "template v1",
        "limits.pages": "template v1",
        "limits.errors": "this job",
        "delay_s": "this job",
        "name": "this job",
    }
    assert list(rendered.sources) == list(FIELDS)
    assert rendered.origin == Origin(
        template_id=mine.id, template_version=1, given=("name", "limits.errors", "delay_s")
    )


async def test_an_earlier_version_is_filled_as_it_was(rig: ScheduleRig) -> None:
    mine = await add(rig, ADA, a_plain_draft(spec={"urls": ["https://one.example/"]}))
    await rewrite(
        rig.templates(ADA), mine.id, a_plain_draft(spec={"urls": ["https://two.example/"]})
    )

    latest = await render_template(rig.store, ADA, mine.id)
    pinned = await render_template(rig.store, ADA, mine.id, version=1)

    assert latest.spec.urls == ("https://two.example/",)
    assert pinned.spec.urls == ("https://one.example/",)
    assert (latest.origin.template_version, pinned.origin.template_version) == (2, 1)
    assert pinned.sources["urls"] == "template v1"


async def test_a_value_that_cannot_be_crawled_names_the_parameter(
    rig: ScheduleRig, subtests: pytest.Subtests
) -> None:
    cases: list[tuple[str, object, str]] = [
        ("include", ["{{p}}"], "re:("),
        ("user_agent", "{{p}}", "é"),
        ("extract", [["a", "{{p}}"]], "[[["),
        ("urls", ["{{p}}"], "nonsense"),
        ("urls", "{{p}}", "http://127.0.0.1/"),
        ("sitemaps", ["{{p}}"], "nonsense"),
        ("headers", {"X-A": "{{p}}"}, "a\r\nX-Evil: 1"),
        ("headers", {"X-A": "{{p}}"}, "a\u00e9"),
        ("webhooks", ["{{p}}"], "ftp://a.example/"),
        ("webhooks", [{"url": "https://a.example/", "events": ["{{p}}"]}], "nope"),
    ]
    for n, (field, place, value) in enumerate(cases):
        spec = {"urls": ["https://a.example/"], field: place}
        parameters = (TemplateParameter(name="p", required=True),)
        draft = a_plain_draft(name=f"t{n}", spec=spec, parameters=parameters)
        await add(rig, ADA, draft)

        with (
            subtests.test(field=field, value=value),
            pytest.raises(Invalid, match=f"as {field}.* of the spec") as refused,
        ):
            await render_template(rig.store, ADA, f"t{n}", {"p": value})

        assert refused.value.field == "params.p", (field, value)


async def test_what_the_job_says_itself_is_not_blamed_on_a_parameter(
    rig: ScheduleRig,
) -> None:
    await add(rig, ADA, a_draft())
    with pytest.raises(Invalid) as refused:
        await render_template(
            rig.store, ADA, "news", {"start_url": "https://a.example/"}, {"urls": ["nonsense"]}
        )
    assert refused.value.field == "urls"


async def test_a_word_that_the_field_does_not_know_names_the_parameter(
    rig: ScheduleRig,
) -> None:
    spec = {"urls": ["{{start_url}}"], "scope": "{{reach}}"}
    await add(rig, ADA, a_draft(spec=spec, parameters=(START_URL, TemplateParameter(name="reach"))))
    params = {"start_url": "https://a.example/", "reach": "near"}
    with pytest.raises(Invalid, match=r"params\.reach: expected one of host, .* got 'near'"):
        await render_template(rig.store, ADA, "news", params)


async def test_a_template_without_a_start_is_filled_by_the_job(rig: ScheduleRig) -> None:
    await add(rig, ADA, a_plain_draft(spec={"scope": "domain"}))
    rendered = await render_template(
        rig.store, ADA, "plain", overrides={"urls": "https://a.example/"}
    )
    assert rendered.spec.urls == ("https://a.example/",)
    with pytest.raises(Invalid, match="urls: expected at least one"):
        await render_template(rig.store, ADA, "plain")


async def test_a_parameter_that_only_a_header_has_is_filled_in(rig: ScheduleRig) -> None:
    token = TemplateParameter(name="token", type=ParameterType.TEXT, required=True)
    spec = {"urls": ["https://a.example/"], "headers": {"Authorization": "Bearer {{token}}"}}
    await add(rig, ADA, a_plain_draft(spec=spec, parameters=(token,)))
    await rig.templates(ADA).publish("plain")
    rendered = await render_template(rig.store, BOB, "ada/plain", {"token": "mine"})
    assert rendered.spec.headers == (("Authorization", "Bearer mine"),)


async def test_a_deletion_is_an_event(store: Store, rig: ScheduleRig) -> None:
    mine = await add(rig, ADA, a_draft(parameters=(START_URL, replace(PAGES, default=1))))
    await rig.templates(ADA).delete(mine.id, version=None)
    with pytest.raises(CrawlyardError):
        await rig.templates(ADA).get(mine.id)
    assert [e.name for e in await store.events.events()] == [
        "template.created",
        "template.deleted",
    ]
