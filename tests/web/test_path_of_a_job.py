"""Path of a new job through the code, from the request to its answer."""

from tests.tracing import Trace, traced
from tests.web.rig import Rig

UNUSED = (
    "core/jobs/outcome.py",
    "engine/extract/",
    "engine/http/",
    "services/schedules/",
    "services/templates/",
    "services/webhooks/",
    "store/jobs/unique_keys.py",
    "store/site_sessions.py",
    "store/templates.py",
    "web/rates.py",
)
"""Files of features that a plain job does not use."""


async def test_a_new_job_enters_at_most_48_files_and_none_of_a_feature_that_it_does_not_use(
    rig: Rig,
) -> None:
    for _ in range(2):  # the first request loads modules
        await rig.job()
    with traced(trace := Trace()):
        await rig.job()
    files = trace.files() - {"lazy.py"}  # our import hook, for packages of the test client
    assert len(files) <= 48, sorted(files)
    assert sorted(file for file in files if file.startswith(UNUSED)) == []
