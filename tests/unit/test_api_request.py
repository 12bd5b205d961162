"""What `crawlyard api` sends."""

from crawlyard.cli.api import Request


def test_a_path_is_below_the_api_with_and_without_its_slash() -> None:
    for said, asked in [
        ("jobs", "jobs"),
        ("/jobs", "jobs"),
        ("/api/v1/jobs", "jobs"),
        ("/settings/grants", "settings/grants"),
        ("/healthz", "/healthz"),
        ("/metrics", "/metrics"),
        ("/api/v2/jobs", "/api/v2/jobs"),
    ]:
        assert Request.of("GET", said, (), "").path == asked, said


def test_what_a_path_asks_goes_with_what_is_asked_beside_it() -> None:
    request = Request.of("GET", "jobs?state=failed&tag=a&tag=b&q=", ["limit=5", "q=docs"], "")
    assert request.path == "jobs"
    assert request.params == {"state": "failed", "tag": ["a", "b"], "q": "docs", "limit": 5}
    assert request.rest(cursor="c")["params"] == {**request.params, "cursor": "c"}


def test_what_is_sent_may_ask_in_its_path() -> None:
    request = Request.of("POST", "jobs?dry_run=true&note=", ["name=raw"], "")
    assert (request.path, request.params) == ("jobs", {"dry_run": "true", "note": ""})
    assert request.body == {"name": "raw"}
