"""Jobs over HTTP: submitted, found, moved."""

import asyncio

from crawlyard.services.surface import every_endpoint
from tests.web.rig import URL, Rig, pointers, problem


async def test_a_job_is_submitted_and_found(rig: Rig) -> None:
    answer = await rig.post("jobs", {"urls": [URL], "limits": {"pages": 5}, "name": "docs"})

    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (job["state"], job["spec"]["name"], job["spec"]["limits"]["pages"]) == (
        "pending",
        "docs",
        5,
    )
    assert (await rig.get(f"jobs/{job['id']}")).json() == job
    every = ",".join(job)
    assert (await rig.get(f"jobs?fields={every}")).json()["items"] == [job]


async def test_all_faults_of_a_job_are_named_at_once(rig: Rig) -> None:
    """Names and values that cannot be read, bounds, and what only the engine judges."""
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({"url": [URL], "max_dept": 3, "scope": "hosts"}, ["/url", "/max_dept", "/scope"]),
        ({"max_dept": 3}, ["/max_dept", "/urls"]),
        ({"urls": [URL], "per_host": 0, "limits": {"pages": 0}}, ["/limits/pages", "/per_host"]),
        (
            {"urls": ["docs.example.org"], "per_host": 0, "include": ["re:(", "x", "/a/*"]},
            ["/per_host", "/urls", "/include", "/include"],
        ),
        (
            {"urls": ["http://a.example:99999/"], "delay": "soon", "extract": {"a": ":::"}},
            ["/delay", "/urls", "/extract"],
        ),
        (
            {
                "urls": [URL],
                "retry": {"first": -1, "factr": 2},
                "webhooks": [
                    "http://a.example/",
                    {"url": "https://b.example", "events": ["job.x"]},
                ],
            },
            ["/retry/first", "/retry/factr", "/webhooks/0/url", "/webhooks/1/events"],
        ),
        ({"urls": [URL], "headers": {"Host": "a", "X Y": "b"}}, ["/headers", "/headers"]),
        ({"limits": 3, "sitemaps": ["robots"], "render": ""}, ["/limits", "/render"]),
    ]
    for body, expected in cases:
        answer = await rig.post("jobs", body)
        assert pointers(answer) == expected, body
        details = [error["detail"] for error in answer.json()["errors"]]
        assert answer.json()["detail"] == "; ".join(details), body


async def test_all_faults_of_a_job_from_a_template_are_named_at_once(rig: Rig) -> None:
    spec = {"urls": ["{{url}}"], "limits": {"pages": "{{pages}}"}, "per_host": 2}
    parameters = {"url": {"type": "url", "required": True}, "pages": {"type": "number"}}
    draft = {"name": "t", "spec": spec, "parameters": parameters}
    assert (await rig.post("templates", draft)).status_code == 201
    cases: list[tuple[dict[str, object], dict[str, object], list[str]]] = [
        ({"ur": URL, "pages": "x"}, {"nam": "a"}, ["/nam", "/params/ur", "/params/pages"]),
        ({"url": URL, "pages": 0}, {"per_host": 0}, ["/params/pages", "/per_host"]),
        ({"pages": 1}, {"max_depth": -1}, ["/params/url", "/max_depth"]),
    ]
    for params, overrides, expected in cases:
        answer = await rig.post("jobs", {"template": "t", "params": params, **overrides})
        assert pointers(answer) == expected, (params, overrides)


async def test_all_faults_of_an_edit_are_named_at_once(rig: Rig) -> None:
    job = (await rig.post("jobs", {"urls": [URL]})).json()
    body = {"per_hots": 1, "limits": {"pages": 0}, "include": ["re:("]}

    answer = await rig.ask("PATCH", f"jobs/{job['id']}", json=body)

    assert pointers(answer) == ["/per_hots", "/limits/pages", "/include"]
    bounds_and_checks = {"limits": {"pages": 0}, "per_host": 0, "include": ["re:("], "max_depth": 2}
    refused = await rig.ask("PATCH", f"jobs/{job['id']}", json=bounds_and_checks)
    assert pointers(refused) == ["/limits/pages", "/per_host", "/include"]


async def test_unknown_jobs_and_sessions_are_named_beside_the_other_faults(rig: Rig) -> None:
    unknown = {"since": "01900000-0000-7000-8000-000000000000", "session": "shop"}
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({}, ["/since", "/session"]),
        ({"include": ["re:("]}, ["/include", "/since", "/session"]),
        ({"per_host": 0, "max_dept": 1}, ["/max_dept", "/per_host", "/since", "/session"]),
        ({"since": 5}, ["/since", "/session"]),
    ]
    for body, expected in cases:
        for path in ("jobs", "jobs/plan"):
            answer = await rig.post(path, {"urls": [URL], **unknown, **body})
            assert pointers(answer) == expected, (body, path)
    batch = [{"urls": [URL], **unknown, "per_host": 0}]
    [outcome] = (await rig.post("jobs/batch", {"jobs": batch})).json()["results"]
    assert all(f"{field}: " in outcome["detail"] for field in ("per_host", "since", "session"))


async def test_a_refused_value_is_given_unless_its_field_is_secret(rig: Rig) -> None:
    hook = {"url": "https://a.example/", "secret": 90210}
    answers = [
        await rig.get("jobs", params={"limit": "90210x"}),
        await rig.post("schedules", {"name": "s", "when": "@daily", "jitter_s": "90210"}),
        await rig.ask("PATCH", "hosts/a.example", json={"delay_s": "90210"}),
        await rig.post("jobs", {"urls": [URL], "delay": "90210 lightyears"}),
        await rig.post("jobs", {"urls": [URL, 90210]}),
        await rig.post("jobs", {"urls": [URL], "headers": {"Authorization": 90210}}),
        await rig.post("jobs", {"urls": [URL], "headers": {"Authorization": "90210é"}}),
        await rig.post("jobs", {"urls": [URL], "proxies": "x://a:90210@b:1"}),
        await rig.post("jobs", {"urls": [URL], "proxies": [90210]}),
        await rig.post("jobs", {"urls": [URL], "cookies": "sid=90210"}),
        await rig.post("jobs", {"urls": [URL], "webhooks": [hook]}),
        await rig.ask("PUT", "sessions/s", json={"kind": "basic", "secret": 90210}),
        await rig.ask("PUT", "sessions/s", json={"kind": "form", "fields": {"pin": 90210}}),
        await rig.post("auth/login", {"code": 90210}),
    ]
    discloses = ["90210" in answer.text for answer in answers if pointers(answer)]
    assert discloses == [True] * 5 + [False] * 9


async def test_what_is_wrong_is_named(rig: Rig) -> None:
    for body, pointer in [
        ({"urls": [URL], "limits": {"pages": 0}}, "/limits/pages"),
        ({"urls": [URL], "limit": {}}, "/limit"),
        ({"urls": [URL], "limits": {"page": 1}}, "/limits/page"),
        ({}, "/urls"),
        ({"urls": ["docs.example.org"]}, "/urls"),
        ({"urls": [URL], "params": {"a": 1}}, "/params"),
        ({"urls": [URL], "start_at": "tomorrow"}, "/start_at"),
        ({"urls": [URL], "concurrency": "many"}, "/concurrency"),
        ({"urls": [URL], "since": "last"}, "/since"),
        ({"urls": [URL], "since": "01900000-0000-7000-8000-000000000000"}, "/since"),
        ({"urls": [URL], "full_every": 0}, "/full_every"),
    ]:
        for path in ("jobs", "jobs/plan"):
            answer = await rig.post(path, body)
            assert pointers(answer) == [pointer], body
        assert (await rig.get("jobs")).json()["items"] == [], body


async def test_a_list_comes_in_pages(rig: Rig) -> None:
    job_ids = [(await rig.job(name=f"n{n}"))["id"] for n in range(5)]

    first = (await rig.get("jobs?limit=2")).json()
    second = (await rig.get("jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    third = (await rig.get("jobs", params={"limit": 2, "cursor": second["next_cursor"]})).json()

    walked = [job["id"] for page in (first, second, third) for job in page["items"]]
    assert walked == job_ids[::-1]
    assert (first["has_more"], third["has_more"], third["next_cursor"]) == (True, False, None)


async def test_a_cursor_holds_for_its_own_list_alone(rig: Rig) -> None:
    for _ in range(3):
        await rig.job()
    cursor = (await rig.get("jobs?limit=1&state=pending")).json()["next_cursor"]

    other = await rig.get("jobs", params={"limit": 1, "state": "paused", "cursor": cursor})
    made_up = await rig.get("jobs", params={"cursor": "abc"})

    assert problem(other) == (400, "invalid_cursor")
    assert problem(made_up) == (400, "invalid_cursor")


async def test_a_job_is_paused_resumed_and_cancelled(rig: Rig) -> None:
    job = await rig.job()
    path = f"jobs/{job['id']}"

    paused = await rig.post(f"{path}/pause", {"reason": "lunch"})
    again = await rig.post(f"{path}/pause")
    resumed = await rig.post(f"{path}/resume")
    resumed_again = await rig.post(f"{path}/resume")
    cancelled = await rig.post(f"{path}/cancel")
    refused = await rig.post(f"{path}/pause")

    assert (paused.status_code, paused.json()["detail"]) == (202, "lunch")
    assert again.status_code == 200
    assert resumed.json()["state"] == "pending"
    assert (resumed_again.status_code, resumed_again.json()) == (200, resumed.json())
    assert cancelled.json()["state"] == "cancelled"
    assert problem(refused) == (409, "invalid_transition")
    assert refused.json()["allowed_actions"] == ["resume", "retry"]


async def test_twenty_requests_with_one_key_make_one_job(rig: Rig) -> None:
    key = {"Idempotency-Key": "k1"}

    answers = await asyncio.gather(
        *(rig.post("jobs", {"urls": [URL]}, headers=key) for _ in range(20))
    )

    assert len((await rig.get("jobs")).json()["items"]) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    later = await rig.post("jobs", {"urls": [URL]}, headers=key)
    assert (later.status_code, later.headers["idempotency-replayed"]) == (201, "true")
    assert later.json()["id"] == (await rig.get("jobs")).json()["items"][0]["id"]


async def test_a_key_stands_for_one_request(rig: Rig) -> None:
    key = {"Idempotency-Key": "k1"}
    await rig.post("jobs", {"urls": [URL]}, headers=key)
    other = await rig.post("jobs", {"urls": [URL], "name": "x"}, headers=key)
    assert problem(other) == (422, "idempotency_key_reused")


async def test_a_refused_request_may_be_mended_under_its_key(rig: Rig) -> None:
    key = {"Idempotency-Key": "k1"}
    refused = await rig.post("jobs", {"urls": []}, headers=key)
    mended = await rig.post("jobs", {"urls": [URL]}, headers=key)
    assert (refused.status_code, mended.status_code) == (422, 201)


async def test_a_response_has_only_the_requested_fields(rig: Rig) -> None:
    job = await rig.job(limits={"pages": 5})
    response = await rig.get(f"jobs/{job['id']}?fields=id,spec.limits.pages")
    many = await rig.get("jobs?fields=state")
    assert response.json() == {"id": job["id"], "spec": {"limits": {"pages": 5}}}
    assert many.json()["items"] == [{"state": "pending"}]


async def test_fields_and_a_status_that_there_are_not_are_refused(rig: Rig) -> None:
    job = await rig.job()
    for query, detail in [
        ("jobs?fields=idd", "there is no field 'idd' in 'idd'; did you mean id?"),
        (f"jobs/{job['id']}?fields=state,spec.nmae", "'nmae' in 'spec.nmae'; did you mean name?"),
        ("jobs?fields=state.x", "there is no field 'x' in 'state.x'; there are none"),
        ("jobs?fields=progress.zzz", "there is no field 'zzz' in 'progress.zzz'; there are done, "),
        ("pages?status=9xx", "expected a status such as 404, or a class: 4xx, got '9xx'"),
        (f"jobs/{job['id']}/pages?status=6xx", "expected a status such as 404"),
    ]:
        answer = await rig.get(query)
        assert problem(answer) == (422, "validation_failed"), query
        [error] = answer.json()["errors"]
        assert error["parameter"] in query
        assert detail in error["detail"], error
    assert (await rig.get("pages?status=999,4xx")).status_code == 200


async def test_each_field_of_a_response_can_be_requested(rig: Rig) -> None:
    await rig.job(template=None)
    count = 0
    for endpoint in every_endpoint():
        if endpoint.method != "GET" or "{" in endpoint.path or endpoint.yields is not None:
            continue
        path = endpoint.path.removeprefix("/")
        answer = await rig.get(path)
        if answer.headers.get("content-type") != "application/json" or answer.status_code != 200:
            continue
        content = answer.json()
        things = content["items"] if content.get("object") == "list" else [content]
        names = sorted({name for thing in things for name in thing})
        if names:
            again = await rig.get(f"{path}?fields={','.join(names)}")
            assert again.status_code == 200, again.text
            same = again.json()
            same = same["items"] if content.get("object") == "list" else [same]
            assert [set(thing) for thing in same] == [set(thing) for thing in things], path
            count += 1
    assert count > 10


async def test_an_invalid_body_is_refused_as_such(rig: Rig) -> None:
    for content, kind, expected in [
        (b"{", "application/json", (400, "malformed")),
        (b"\xff", "application/json", (400, "malformed")),
        (b"[" * 100 + b"]" * 100, "application/json", (400, "malformed")),
        (b'{"name": "\\ud800"}', "application/json", (400, "malformed")),
        (b"urls=x", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b'"' + b"x" * 2_000_000 + b'"', "application/json", (413, "payload_too_large")),
        (b"[]", "application/json", (422, "validation_failed")),
        (b"null", "application/json", (422, "validation_failed")),
    ]:
        answer = await rig.ask("POST", "jobs", content=content, headers={"Content-Type": kind})
        assert problem(answer) == expected, content


async def test_a_foreign_host_and_an_unknown_path_are_problems(rig: Rig) -> None:
    answer = await rig.get("jobs", headers={"Host": "evil.example"})
    assert problem(answer) == (421, "misdirected")
    assert problem(await rig.get("nothing")) == (404, "not_found")
    assert problem(await rig.ask("PUT", "jobs")) == (405, "method_not_allowed")


async def test_a_new_job_is_answered_and_planned_with_its_place_among_the_turns_of_all(
    rig: Rig,
) -> None:
    await rig.user("ann")
    for _ in range(3):
        await rig.job("ann")
    await rig.job()

    plan = (await rig.post("jobs/plan", {"urls": [URL]})).json()
    job = await rig.job()

    read = (await rig.get(f"jobs/{job['id']}")).json()
    assert plan["waits_for"] == job["waits_for"] == read["waits_for"]
    places = [w["position"] for w in read["waits_for"] if w["reason"] == "queue"]
    assert places == [4]  # ann's third job has a later turn
