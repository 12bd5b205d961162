"""What goes over a bus comes back as it was, and nothing else is taken for it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.bus.messages import (
    Message,
    message_bytes,
    message_of,
    progress_bytes,
    progress_from,
)
from crawlyard.core.eta import Confidence, Eta
from crawlyard.core.progress import Progress

COUNTS = st.integers(0, 2**63)
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=3650))
SECONDS = st.floats(0, 1e9) | st.integers(0, 10)
ETA = st.builds(
    Eta,
    p10_s=SECONDS,
    p50_s=SECONDS,
    p90_s=SECONDS,
    confidence=st.sampled_from(Confidence),
    limit=st.none() | st.text(),
)
PROGRESS = st.builds(
    Progress,
    done=COUNTS,
    discovered=COUNTS,
    failed=COUNTS,
    pages=COUNTS,
    bytes=COUNTS,
    elapsed=DURATIONS,
    rate=SECONDS,
    current_url=st.text(),
    eta=st.none() | ETA,
    eta_unknown=st.text(),
)


@given(PROGRESS)
def test_progress_comes_back_as_it_was(progress: Progress) -> None:
    assert progress_from(progress_bytes(progress)) == progress


@given(st.text(), st.dictionaries(st.text(), PROGRESS, max_size=3), st.booleans())
def test_a_message_comes_back_as_it_was(
    origin: str, progress: dict[str, Progress], happened: bool
) -> None:
    message = Message(origin=origin, progress=progress, happened=happened)

    assert message_of(message_bytes(message)) == message


A_PROGRESS: dict[str, Any] = json.loads(
    progress_bytes(
        Progress(
            done=1,
            discovered=2,
            failed=0,
            pages=1,
            bytes=10,
            elapsed=timedelta(seconds=1),
            rate=1.0,
            current_url="",
            eta=None,
        )
    )
)


@pytest.mark.parametrize(
    "change",
    [
        {"done": "1"},
        {"done": True},
        {"done": None},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"elapsed_s": 1e30},
        {"elapsed_s": "long"},
        {"eta": 1},
        {"eta": {"p10_s": 1.0, "p50_s": 1.0, "p90_s": 1.0, "confidence": "sure", "limit": None}},
        {"current_url": 7},
    ],
    ids=str,
)
def test_what_is_no_progress_is_refused(change: dict[str, Any]) -> None:
    assert progress_from(json.dumps(A_PROGRESS).encode()).done == 1

    with pytest.raises(ValueError, match=r"expected|is not a valid"):
        progress_from(json.dumps(A_PROGRESS | change).encode())


@given(st.binary())
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind: that is what is caught
        message_of(data)
