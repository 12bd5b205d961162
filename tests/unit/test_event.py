import json

from crawlyard import Event, EventName, State
from tests.builders import NOW, a_job


def test_every_name_says_what_it_is_about() -> None:
    assert {name.kind for name in EventName} == {
        *("job", "template", "schedule", "webhook"),
        *("user", "token", "worker", "host", "settings"),
    }


def test_an_event_of_a_job_says_where_the_job_stands() -> None:
    job = a_job(state=State.RUNNING, detail="so far", version=5)

    event = job.event(EventName.NOTED, NOW, "worker:w", note="a crawl-delay is capped")

    assert event == Event(
        name=EventName.NOTED,
        subject=job.id,
        owner="local",
        at=NOW,
        actor="worker:w",
        data={
            "state": "running",
            "reason": job.state_reason.value,
            "detail": "so far",
            "version": 5,
            "name": "",
            "note": "a crawl-delay is capped",
        },
    )


def test_what_an_event_tells_can_be_written_as_json() -> None:
    event = a_job().event(EventName.CREATED, NOW, "local")
    assert json.loads(json.dumps(event.data)) == event.data


def test_an_event_has_no_place_in_the_log_until_the_store_gives_it_one() -> None:
    assert a_job().event(EventName.CREATED, NOW, "local").seq == 0
