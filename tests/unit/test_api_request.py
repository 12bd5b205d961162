"""What `crawlyard api` sends."""

import pytest

from crawlyard.cli.signing_in import Request


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("jobs", "jobs"),
        ("/jobs", "jobs"),
        ("/api/v1/jobs", "jobs"),
        ("/settings/grants", "settings/grants"),
        ("/healthz", "/healthz"),
        ("/metrics", "/metrics"),
        ("/api/v2/jobs", "/api/v2/jobs"),
    ],
)
def test_a_path_is_below_the_api_with_and_without_its_slash(said: str, asked: str) -> None:
    assert Request.of("GET", said, (), "").path == asked
