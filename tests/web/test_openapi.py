"""The OpenAPI document is complete and true, and does not change behind its clients' backs."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.answer import API as PREFIX
from crawlyard.core.answer import Wire
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.webhooks.webhook import encode_message, message
from crawlyard.services.webhooks.signing import new_secret, sign_body
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders import NOW, a_job, its_event
from tests.openapi import (
    SNAPSHOT,
    Document,
    broken,
    contract,
    document_now,
    operations,
    referred,
    text_of,
)
from tests.web.crawled import in_state
from tests.web.matrix import MAKERS, PERSONAL
from tests.web.matrix_rows import ROWS
from tests.web.rig import Rig, a_rig

ANEW = "python -m tests.openapi writes it anew"
BESIDE = {"/healthz", "/readyz", "/metrics", "/problems/{kind}"}
THINGS = {f"{row.method} {PREFIX}{row.path}": row.thing for row in ROWS}

NO_HOST, A_HOST = "hooks.example.org", "93.184.216.34"
"""A webhook's host must have an address, and no name of an example has one."""

UNTRUE = {
    # a secret that is printed in a document is none
    f"POST {PREFIX}/auth/login": 401,
    "POST /hooks/{token}": 401,
    f"POST {PREFIX}/triggers": 404,  # a new yard has no template
    f"POST {PREFIX}/shares": 404,  # nor a job
}
ASKS_HOSTS = f"POST {PREFIX}/jobs/preview"
RETRY = f"POST {PREFIX}/jobs/{{job_id}}/retry"


@pytest.fixture(scope="module")
def document() -> Document:
    return asyncio.run(document_now())


def named(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, method, operation in operations(document):
        yield f"{method.upper()} {path}", operation


def test_it_is_of_version_3_1_and_says_how_to_sign_in(document: Document) -> None:
    schemes = document["components"]["securitySchemes"]
    assert document["openapi"].startswith("3.1")
    assert document["info"]["description"]
    assert (schemes["token"]["type"], schemes["token"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["type"], schemes["session"]["in"]) == ("apiKey", "cookie")


def test_every_operation_has_a_sentence_a_tag_and_an_id(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = [operation["operationId"] for _, operation in named(document)]

    for name, operation in named(document):
        assert re.fullmatch(r"[A-Z].{9,}\.", operation["summary"]), name
        assert set(operation["tags"]) <= tags, name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), name
    assert len(ids) == len(set(ids)) > 100
    assert {"jobs_list", "jobs_create", "jobs_pause", "templates_import"} <= set(ids)


def test_each_operation_documents_the_scopes_it_requires(document: Document) -> None:
    free = {name for name, operation in named(document) if not operation.get("security")}
    scopes = {
        scope
        for _, operation in named(document)
        for way in operation.get("security", ())
        for scope in (*way.get("token", ()), *way.get("session", ()))
    }
    assert free == {
        "GET /healthz",
        "GET /readyz",
        "GET /problems/{kind}",
        "POST /hooks/{token}",
    } | {f"POST {PREFIX}/auth/login"}
    assert scopes <= set(Permit)


def test_every_error_has_the_same_schema(document: Document) -> None:
    problem = {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
    for name, operation in named(document):
        statuses = {int(status) for status in operation["responses"]}
        errors = [answer for status, answer in operation["responses"].items() if status >= "400"]

        assert {400, 408, 413, 415, 421, 431, 500, 503} <= statuses, name
        assert not operation.get("security") or {401, 429} <= statuses, name
        assert all(error["content"] == {"application/problem+json": problem} for error in errors), (
            name
        )
        assert any(status < 400 for status in statuses), name
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_reference_leads_somewhere(document: Document) -> None:
    refs = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert all(referred(document, ref) for ref in refs)
    assert len(refs) > 50


# --- webhooks


def validator_of(document: Document, name: EventName) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of the messages about an event."""
    content = document["webhooks"][name]["post"]["requestBody"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def test_every_event_is_a_webhook_with_the_schema_of_what_is_sent(document: Document) -> None:
    assert document["webhooks"].keys() == set(EventName)
    for name in EventName:
        request = document["webhooks"][name]["post"]
        assert [parameter["name"] for parameter in request["parameters"]] == list(
            sign_body("m1", NOW, b"{}", [new_secret()])
        )
    event = replace(its_event(a_job(), EventName.COMPLETED), seq=42)
    body = json.loads(encode_message(message(event)))
    for name, valid in ((EventName.COMPLETED, True), (EventName.PROGRESSED, False)):
        assert validator_of(document, name).is_valid(body) is valid, name
    del body["data"]["details"]["reason"]
    assert not validator_of(document, EventName.COMPLETED).is_valid(body)


# --- examples


def example_lists(place: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return each schema that has examples, with its path."""
    if isinstance(place, Mapping):
        if isinstance(place.get("examples"), list) and not path.endswith("/properties"):
            yield path, place
        for name, inner in place.items():
            yield from example_lists(inner, f"{path}/{name}")
    elif isinstance(place, list):
        for index, inner in enumerate(place):
            yield from example_lists(inner, f"{path}/{index}")


def test_every_example_is_one_of_its_own_schema(document: Document) -> None:
    schemas = list(example_lists(document))
    for path, schema in schemas:
        whole = {**schema, "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(whole)
        for example in schema["examples"]:
            assert validator.is_valid(example), f"{path}: {example}"
    assert len(schemas) > 30


def bodies_of(document: Document, operation: Mapping[str, Any]) -> Iterator[Any]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        for named_one in content.get("examples", {}).values():
            yield kind, named_one["value"]
        yield from ((kind, example) for example in _examples(document, content["schema"]))


def _examples(document: Document, schema: Mapping[str, Any]) -> Iterator[Any]:
    yield from schema.get("examples", ())
    if "$ref" in schema:
        yield from _examples(document, referred(document, schema["$ref"]))
    for choice in schema.get("anyOf", ()):
        yield from _examples(document, choice)


def test_every_body_has_an_example(document: Document) -> None:
    without = [
        name
        for name, operation in named(document)
        if "requestBody" in operation and not list(bodies_of(document, operation))
    ]
    assert without == []


@pytest.mark.slow
async def test_every_example_of_a_body_is_taken(document: Document) -> None:
    for name, operation in named(document):
        for kind, body in bodies_of(document, operation):
            if name == ASKS_HOSTS:
                fields = {field: value for field, value in body.items() if field != "test_urls"}
                assert await answered(f"POST {PREFIX}/jobs", fields, kind) == 201
                continue
            status = await answered(name, body, kind)
            assert status == UNTRUE.get(name, status), name
            assert name in UNTRUE or status in range(200, 300), f"{name} {body}: {status}"


async def answered(name: str, body: Any, kind: str) -> int:
    """Return how the admin of a new yard is answered, things of ada's being there."""
    rig = await a_rig(open_in_memory())
    await rig.user("ada")
    method, _, path = name.partition(" ")
    if (thing := THINGS.get(name, "")) and thing != "section":
        make = MAKERS[thing] if name != RETRY else with_failed_urls
        for parameter, value in (await make(rig, False)).items():
            path = path.replace(f"{{{parameter}}}", value)
    path = path.replace("{section}", _section(body))
    headers = {"If-Match": "*", "Content-Type": kind}
    by = "ada" if thing in PERSONAL else LOCAL.id
    text = json.dumps(body).replace(NO_HOST, A_HOST)
    answer = await rig.ask(method, path, by=by, content=text, headers=headers)
    return answer.status_code


async def with_failed_urls(rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"job_id": await in_state(rig, State.FAILED, "ada")}


def _section(body: Any) -> str:
    """Return the section of the settings that a body is an example for."""
    marks = {"addresses": "grants", "retention_days": "retention", "pages": "ceilings"}
    return next((section for mark, section in marks.items() if mark in body), "defaults")


# --- changes


def test_nothing_that_clients_rely_on_has_gone(document: Document) -> None:
    agreed = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert broken(agreed, contract(document)) == [], f"a breaking change; {ANEW}"


def test_what_is_new_is_agreed_upon(document: Document) -> None:
    assert SNAPSHOT.read_text(encoding="utf-8") == text_of(contract(document)), ANEW


BY_HAND = {"FieldErrorOut", "MessageData", "ProblemOut", "WebhookMessage"}
"""Schemas outside the answers of operations: what a record gains does not get into them."""


def test_a_new_field_of_any_record_is_noticed(document: Document) -> None:
    changed = deepcopy(document)
    schemas = {k: v for k, v in changed["components"]["schemas"].items() if "properties" in v}
    for name, schema in schemas.items():
        schema["properties"][f"of_{name}"] = {"type": "string"}

    names = set(re.findall(r"\bof_(\w+)", text_of(contract(changed))))

    assert schemas.keys() - names == BY_HAND
    derived = [answer for answer in _answers(Wire) if "_sources" in vars(answer)]
    assert len(derived) > 30
    for answer in derived:
        classes = (answer, *_answers(answer))
        assert schemas.keys() & {kind.__name__ for kind in classes}, answer


def _answers(kind: type[Wire]) -> Iterator[type[Wire]]:
    for answer in kind.__subclasses__():
        if answer.__module__.startswith("crawlyard."):
            yield answer
            yield from _answers(answer)


def test_a_breaking_change_is_noticed(document: Document) -> None:
    agreed = contract(document)
    post, get = "POST /api/v1/jobs", "GET /api/v1/jobs"
    changed = deepcopy(agreed)
    del changed["GET /api/v1/stats"]
    changed[post]["id"] = "jobs_submit"
    changed[post]["body"].remove("urls")
    changed[post]["statuses"].remove("201")
    changed[post]["parameters"].append("header X-New*")
    changed[get]["parameters"].remove("query q")
    changed[get]["answer"].remove("items[].state")
    changed[get]["statuses"].remove("422")  # no break
    changed[get]["answer"].append("items[].more")  # nor this

    assert broken(agreed, changed) == [
        "GET /api/v1/stats is gone",
        "GET /api/v1/jobs: parameters lost query q",
        "GET /api/v1/jobs: answer lost items[].state",
        "POST /api/v1/jobs is called jobs_submit, was jobs_create",
        "POST /api/v1/jobs: parameters must have header X-New now",
        "POST /api/v1/jobs: body lost urls",
        "POST /api/v1/jobs: statuses lost 201",
    ]


# --- bounds


def request_schemas(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return each schema of a body and of a parameter, with a name."""
    for name, operation in named(document):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                yield f"{name} ?{parameter['name']}", parameter["schema"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield from _parts(document, name, content["schema"])


def _parts(document: Document, name: str, schema: Mapping[str, Any]) -> Iterator[Any]:
    if "$ref" in schema:
        yield from _parts(document, name, referred(document, schema["$ref"]))
    for choice in schema.get("anyOf", ()):
        yield from _parts(document, name, choice)
    for field, inner in schema.get("properties", {}).items():
        yield f"{name} {field}", inner
        yield from _parts(document, f"{name} {field}", inner)


def unbounded(document: Document, schema: Mapping[str, Any]) -> bool:
    if "$ref" in schema:
        return unbounded(document, referred(document, schema["$ref"]))
    if any(unbounded(document, choice) for choice in schema.get("anyOf", ())):
        return True
    kind = schema.get("type")
    if kind == "string":
        return not {"maxLength", "enum", "const", "pattern", "format"} & set(schema)
    if kind in ("integer", "number"):
        above = {"maximum", "exclusiveMaximum"} & set(schema)
        return not (above and {"minimum", "exclusiveMinimum"} & set(schema))
    if kind == "array" and "items" in schema:
        return "maxItems" not in schema or unbounded(document, schema["items"])
    return False


def test_all_request_schemas_have_bounds(document: Document) -> None:
    unbounded_names = sorted(
        {name for name, schema in request_schemas(document) if unbounded(document, schema)}
    )
    assert unbounded_names == []
