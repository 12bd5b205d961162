"""`--fields`: valid names, selected values, and errors."""

import sys
from typing import Any

import pytest
import yaml

from crawlyard.cli.options import Common, Style
from crawlyard.cli.render import output
from crawlyard.cli.render.fields import Fields, pairs
from crawlyard.cli.render.output import View
from crawlyard.core.answer import Wire, as_dict
from crawlyard.core.jobs.answers import EventOut, JobOut
from crawlyard.core.jobs.job import Shard, Standing
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.progress import progress_of
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job, a_spec, its_event

VIEW: View[Any] = View(columns=(), key=lambda thing: str(thing.id))


def job_out(**spec: Any) -> JobOut:
    job = a_job(spec=a_spec(**spec))
    progress = progress_of(job.limits, Shard().usage, Shard().pulse, job.state, "")
    return JobOut.of(Standing(job=job, shard=Shard()), progress, NOW)


class Part(Wire, frozen=True, kw_only=True):
    name: str
    size: int | None


class Whole(Wire, frozen=True, kw_only=True):
    id: str
    on: bool
    parts: tuple[Part, ...]


WHOLE = Whole(id="a", on=True, parts=(Part(name="x", size=1), Part(name="y", size=None)))
NONE = Whole(id="b", on=False, parts=())


async def written(
    capsysbinary: pytest.CaptureFixture[bytes], style: Style, fields: str, *items: Wire
) -> str:
    out, common = output.Screen(sys.stdout), Common(fields=Fields.of(fields))
    await output.write_all(items, VIEW, style, out, common)
    return capsysbinary.readouterr().out.decode()


def test_what_is_no_name_is_refused(subtests: pytest.Subtests) -> None:
    for text in ["", "id,", "a b", "id;state", ".id", "id.", "-"]:
        with subtests.test(text=text), pytest.raises(ValueError, match="expected names such as"):
            Fields.of(text)


def test_a_name_that_is_given_twice_is_one() -> None:
    assert Fields.of("id, state,id").paths == ("id", "state")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("id,colour", "got 'colour'"),
        ("usage.colour", "got 'colour' in 'usage.colour'"),
        ("state.first", "a plain value has no fields"),
        ("spec.webhooks.colour", ""),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(fields: str, message: str) -> None:
    job = job_out()
    if not message:
        Fields.of(fields).check(job)  # an empty list shows no fields
        return

    with pytest.raises(Invalid, match=message) as refused:
        Fields.of(fields).check(job)

    assert refused.value.field == "--fields"


def test_what_is_within_data_of_any_kind_may_be_there_or_not() -> None:
    event = EventOut.of(its_event(a_job()))
    columns = dict(pairs(Fields.of("name,data.reason,data.colour.deep"), event))
    assert columns == {
        "name": "job.created",
        "data.reason": "waiting_slot",
        "data.colour.deep": None,
    }


def test_fields_stay_where_they_were() -> None:
    job = job_out(limits=Limits(pages=5, duration_s=3600), tags=("a", "b"))
    record = as_dict(job)

    picked = Fields.of("spec.tags,spec.limits.pages,spec.limits.duration_s,state").only(record)

    assert picked == {
        "spec": {"tags": ["a", "b"], "limits": {"pages": 5, "duration_s": 3600}},
        "state": "pending",
    }
    assert list(picked) == ["spec", "state"]
    assert list(picked["spec"]) == ["tags", "limits"]
    assert Fields.of("usage.pages,usage").only(record) == {"usage": record["usage"]}


async def test_rows_have_the_fields_in_their_order(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    plain = await written(capsysbinary, Style.PLAIN, "parts.name,on,id", WHOLE, NONE)
    rows = await written(capsysbinary, Style.CSV, "id,parts", WHOLE, NONE)
    table = await written(capsysbinary, Style.TABLE, "id,parts.size", WHOLE)

    assert plain == '["x","y"]\ttrue\ta\n[]\tfalse\tb\n'
    assert rows == (
        'id,parts\r\na,"[{""name"":""x"",""size"":1},{""name"":""y"",""size"":null}]"\r\nb,[]\r\n'
    )
    lines = [line.split() for line in table.splitlines()]
    assert lines == [["ID", "PARTS.SIZE"], ["a", "[1,null]"]]


async def test_objects_have_nothing_else(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = await written(capsysbinary, Style.JSONL, "id,parts.name", WHOLE, NONE)
    array = await written(capsysbinary, Style.JSON, "on", NONE)
    listed = await written(capsysbinary, Style.YAML, "id,parts.name", WHOLE, NONE)
    assert lines == '{"id":"a","parts":[{"name":"x"},{"name":"y"}]}\n{"id":"b","parts":[]}\n'
    assert array == '[\n  {\n    "on": false\n  }\n]\n'
    assert yaml.safe_load(listed) == [
        {"id": "a", "parts": [{"name": "x"}, {"name": "y"}]},
        {"id": "b", "parts": []},
    ]


@pytest.mark.parametrize("style", Style)
async def test_nothing_is_written_before_a_name_is_refused(
    style: Style, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pytest.raises(Invalid):
        await written(capsysbinary, style, "colour", WHOLE)
    assert capsysbinary.readouterr().out == b""


def test_yaml_is_one_document_a_thing(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for whole in (WHOLE, NONE):
        output.write_one(whole, Style.YAML)
    documents = list(yaml.safe_load_all(capsysbinary.readouterr().out.decode()))
    assert documents == [as_dict(WHOLE), as_dict(NONE)]


def test_ids_alone_have_no_fields() -> None:
    common = Common(quiet=True, fields=Fields.of("id"))
    with pytest.raises(Invalid, match="excludes -q"):
        common.style_on(terminal=False)
