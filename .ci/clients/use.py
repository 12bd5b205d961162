"""What a program does with the generated client: every kind of thing made, found and changed."""

import os

from python_client import AuthenticatedClient
from python_client.api.groups import groups_cancel, groups_get, groups_wait
from python_client.api.jobs import (
    jobs_create,
    jobs_edit,
    jobs_get,
    jobs_list,
    jobs_submit_many,
    jobs_wait,
)
from python_client.api.results import results_pages
from python_client.api.schedules import (
    schedules_create,
    schedules_edit,
    schedules_get,
    schedules_list,
    schedules_run,
)
from python_client.api.settings import settings_put
from python_client.api.templates import (
    templates_create,
    templates_edit,
    templates_get,
    templates_list,
)
from python_client.api.webhooks import webhooks_create, webhooks_edit, webhooks_get, webhooks_list
from python_client.models import (
    GroupsCancelAsk,
    JobOut,
    JobsCreateAsk,
    JobsEditAsk,
    JobsSubmitManyAsk,
    SchedulesCreateAsk,
    SchedulesEditAsk,
    SettingsPutAsk,
    TemplatesCreateAsk,
    TemplatesEditAsk,
    WebhooksCreateAsk,
    WebhooksEditAsk,
)

client = AuthenticatedClient(base_url=os.environ["SERVER"], token=os.environ["CRAWLYARD_TOKEN"])
site = os.environ["SITE"]
grants = {"addresses": True, "private": False, "ignore_robots": False}
settings_put.sync("grants", client=client, body=SettingsPutAsk.from_dict(grants), if_match="*")
host = site.split("/")[2]
LATER = "2999-01-01T00:00:00Z"
form = {"urls": [site], "allow_addresses": [host], "limits": {"pages": 10}, "delay_s": 0}

job = jobs_create.sync(client=client, body=JobsCreateAsk.from_dict(form))
assert isinstance(job, JobOut), job
changed = jobs_edit.sync(job.id, client=client, body=JobsEditAsk.from_dict({"name": "changed"}))
assert isinstance(changed, JobOut), changed
assert changed.spec.name == "changed"
while job.state not in {"completed", "failed", "cancelled"}:
    job = jobs_wait.sync(job.id, client=client, timeout_s=20.0)
assert jobs_get.sync(job.id, client=client).usage.pages == 10
assert job.id in {one.id for one in jobs_list.sync(client=client).items}
assert len(results_pages.sync(job.id, client=client).items) == 10

keyed = JobsCreateAsk.from_dict(form | {"unique_key": "a", "start_at": LATER})
first, second = (jobs_create.sync(client=client, body=keyed) for _ in range(2))
again, repeated = (
    jobs_create.sync(client=client, body=JobsCreateAsk.from_dict(form), idempotency_key="b")
    for _ in range(2)
)
assert first.id == second.id != again.id
assert again.id == repeated.id
batch = jobs_submit_many.sync(
    client=client,
    body=JobsSubmitManyAsk.from_dict({"jobs": [form | {"start_at": LATER}] * 2}),
    idempotency_key="c",
)
assert not groups_wait.sync(batch.group_id, client=client, timeout_s=0.0).ended
groups_cancel.sync(batch.group_id, client=client, body=GroupsCancelAsk())
assert groups_get.sync(batch.group_id, client=client).ended

template = templates_create.sync(
    client=client, body=TemplatesCreateAsk.from_dict({"name": "site", "spec": form})
)
saved = templates_edit.sync(
    template.id,
    client=client,
    body=TemplatesEditAsk.from_dict({"description": "of ours"}),
    if_match=f'"v{template.version}"',
)
assert templates_get.sync("site", client=client).version == saved.version == 2
assert [one.name for one in templates_list.sync(client=client).items] == ["site"]

schedule = schedules_create.sync(
    client=client,
    body=SchedulesCreateAsk.from_dict({"name": "nightly", "when": "0 3 * * *", "template": "site"}),
)
edited = schedules_edit.sync(
    schedule.id,
    client=client,
    body=SchedulesEditAsk.from_dict({"when": "every 6h"}),
    if_match="*",
)
assert schedules_get.sync("nightly", client=client).when == edited.when == "every 6h"
assert [one.name for one in schedules_list.sync(client=client).items] == ["nightly"]
assert schedules_run.sync("nightly", client=client).origin.schedule_id == schedule.id

hook = webhooks_create.sync(
    client=client,
    body=WebhooksCreateAsk.from_dict({"url": f"http://{host}/hook", "allow_addresses": [host]}),
)
webhooks_edit.sync(hook.id, client=client, body=WebhooksEditAsk.from_dict({"description": "chat"}))
assert webhooks_get.sync(hook.id, client=client).description == "chat"
assert [one.id for one in webhooks_list.sync(client=client).items] == [hook.id]
print("the Python client works")
