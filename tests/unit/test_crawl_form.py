"""Arguments of `crawl()` in Python as a form."""

import pytest

from crawlyard import JobSpec, Limits, Priority
from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.spec_json import form_of, spec_of
from crawlyard.errors import Invalid
from crawlyard.services.jobs.crawl_form import OPTIONS, form_with

URL = "https://docs.example.org/"


def test_a_url_a_list_a_spec_and_a_mapping_say_the_same() -> None:
    spec = JobSpec(urls=(URL,), limits=Limits(pages=100), tags=("docs",))
    options = {"max_pages": 100, "tags": ["docs"]}

    forms = [
        form_with(URL, options),
        form_with([URL], options),
        form_with(spec, {}),
        form_with(JobSpec(urls=(URL,)), options),
        form_with({"urls": [URL]}, options),
        form_with({"urls": [URL], "limits": {"pages": 100}, "tags": ["docs"]}, {}),
        form_with((), {"urls": URL, **options}),
    ]

    assert [spec_of(form) for form in forms] == [spec] * len(forms)
    assert form_with(spec, {}) == form_of(spec)


def test_an_option_has_the_name_of_its_field_and_that_of_the_command_line() -> None:
    for path, field in fields_of(JobSpec).items():
        flag = field.flag.removeprefix("--").replace("-", "_")
        names = [name for name in (path, flag) if name and "." not in name]
        assert [OPTIONS[name] for name in names] == [path] * len(names)


def test_a_single_limit_is_put_over_all_limits_in_any_order() -> None:
    limits = {"limits": Limits(pages=5, errors=3)}
    for options in (limits | {"max_pages": 9}, {"max_pages": 9} | limits):
        form = form_with({"urls": [URL], "limits": {"pages": 1, "bytes": 7}}, options)
        assert spec_of(form).limits == Limits(pages=9, errors=3)


def test_an_option_without_a_value_stays_in_the_form() -> None:
    """Over a template, it takes a limit away."""
    assert form_with((), {"max_pages": None}) == {"limits": {"pages": None}}


def test_values_of_python_are_read_as_those_of_json() -> None:
    form = form_with(URL, {"priority": Priority.HIGH, "worker_tags": ("a", "b"), "delay": "2s"})
    spec = spec_of(form)
    assert (spec.priority, spec.worker_tags, spec.delay_s) == (Priority.HIGH, ("a", "b"), 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_page": 3}, "max_page: unknown option; did you mean max_pages?"),
        (
            {"colour": "red"},
            "colour: unknown option; see 'Crawl settings' in the reference",
        ),
        ({"tag": "a", "tags": ["b"]}, "tags: expected tag or tags, got both"),
        ({"limits": 7}, "limits: expected an object of its fields, got 7"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        form_with(URL, options)
    assert str(refused.value) == message


def test_what_cannot_be_crawled_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        form_with(7, {})  # type: ignore[arg-type]  # as a caller without types may
    assert str(refused.value) == "urls: expected a URL, a JobSpec or a mapping, got 7"
