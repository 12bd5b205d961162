"""`crawlyard groups …` and `crawlyard.connect()` on batches, with a server that crawls."""

import json

import crawlyard
from tests.acceptance.shell import GRANTS, Shell, demo_site, serving

LATER = "2999-01-01T00:00:00Z"


async def test_groups_are_shown_awaited_and_cancelled(shell: Shell) -> None:
    token = shell.run("tokens", "create", "tests", "-q").stdout.strip()
    with demo_site("--pages", "3", "--plain") as site, serving(shell, token) as served:
        form = {"urls": [site], "allow_addresses": [site.split("/")[2]], "delay_s": 0}
        granted = served.run("api", "PUT", "settings/grants", "--input", "-", stdin=GRANTS)
        assert granted.returncode == 0, granted.stderr
        crawling = submitted(served, form, form)
        waiting = submitted(served, form | {"start_at": LATER}, form | {"start_at": LATER})

        completed = served.run("groups", "wait", crawling)
        group = served.json("groups", "show", crawling)
        early = served.run("groups", "wait", waiting, "--timeout", "0s")
        async with crawlyard.connect(served.env["CRAWLYARD_SERVER"], token) as yard:
            before = await yard.groups.wait(waiting, timeout_s=0)
            job = (await yard.jobs.list(group_id=waiting)).items[0]
            await yard.jobs.cancel(job.id)
            done = await yard.groups.cancel(crawling)
            open_group = await yard.groups.get(waiting)
        cancelled = served.run("groups", "cancel", waiting)
        ended = served.run("groups", "wait", waiting)
        missing = served.run("groups", "show", "0192")

    assert (completed.returncode, early.returncode, ended.returncode) == (0, 1, 1), completed.stderr
    assert isinstance(group, dict)
    assert (group["states"], group["pages"], group["ended"]) == ({"completed": 2}, 6, True)
    assert (before.ended, before.states) == (False, {"pending": 2})
    assert (done.count, open_group.states) == (0, {"cancelled": 1, "pending": 1})
    assert cancelled.stderr == "cancelled 1 of 1 job that had not ended\n"
    assert (missing.returncode, missing.stderr) == (3, "error: there is no group 0192\n")


def submitted(shell: Shell, *forms: object) -> str:
    """Return the id of the group of new jobs."""
    body = json.dumps({"jobs": forms})
    ran = shell.run("api", "POST", "jobs/batch", "--input", "-", stdin=body)
    assert ran.returncode == 0, ran.stderr
    group_id: str = json.loads(ran.stdout)["group_id"]
    return group_id
