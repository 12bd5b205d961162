import inspect
from typing import Any, cast

import pytest

from crawlyard.cli.jobs.crawl_options import SHOWN, Keep, SpecOptions, form_of
from crawlyard.cli.options import Labels, flatten
from crawlyard.cli.schedules import schedules
from crawlyard.cli.templates.options import parameter_of, params_of
from crawlyard.cli.values import NO_PAIR, Ceiling, Pair, ceiling, count, header, or_none, webhook
from crawlyard.core.access.sharing import Sharing
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.render_options import BrowserChoice, ScreenshotChoice
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spec import Priority, Scope, Strategy, TextMode
from crawlyard.core.jobs.spec_json import spec_of, values_of
from crawlyard.core.quantity import FOREVER_S
from crawlyard.core.templates.template import ParameterType, TemplateParameter
from crawlyard.errors import Invalid
from tests.builders import a_spec

SOME: dict[str, object] = {
    # Typer's form of an option of this type
    "scope": Scope.ANY,
    "strategy": Strategy.DEPTH_FIRST,
    "text": TextMode.MAIN,
    "cookies": CookieMode.OFF,
    "priority": Priority.HIGH,
    "keep_html": Keep.HTML,
    "headers": [Pair("X-A", "1")],
    "extract": [Pair("a", ".b")],
    "name": "x",
    "user_agent": "x",
    "session": "x",
    "unique_key": "none",
    "logged_out": ["status:401"],
    "since": Ceiling("01900000-0000-7000-8000-000000000000"),
    "retry_first_s": 1.0,
    "delay_s": 1.0,
    "timeout_s": 1.0,
    "retention_s": 1.0,
    "limits_duration_s": Ceiling(1.0),
    "limits_render_s": Ceiling(1.0),
    "render": "always",
    "renderer": BrowserChoice.CHROMIUM,
    "wait_for": "main",
    "actions": ["scroll 3"],
    "screenshot": ScreenshotChoice.WEBP,
    "shared": Sharing.WRITE,
    "share_pages": True,
    "webhooks": ["https://example.com/hook"],
    "proxies": ["socks5://198.41.0.4:1080"],
    **{name: ["x"] for name in ("include", "exclude", "chromium", "sitemaps", "allow_addresses")},
    **{name: ["x"] for name in ("tags", "worker_tags", "notify")},
    "ignore_css": [".ad"],
    "ignore_text": ["re:^a"],
    **dict.fromkeys(("limits_pages", "limits_bytes", "limits_errors", "max_depth"), Ceiling(5)),
    **dict.fromkeys(
        ("ignore_query", "ignore_robots", "follow_nofollow", "store_noindex", "allow_private"), True
    ),
    "confirm_changes": True,
    "keep_links": False,
    "full_page": False,
}
OPTIONS = {field.path: field.path.replace(".", "_") for field in SHOWN}


def spec_options(**options: Any) -> SpecOptions:
    return SpecOptions(**options)


def test_what_was_not_given_is_not_in_the_form_and_no_delay_is_a_wish() -> None:
    assert form_of((), spec_options()) == {}
    assert form_of((), spec_options(include=[], exclude=[])) == {}
    assert form_of((), spec_options(delay_s=0.0)) == {"delay_s": 0}


def test_each_option_that_is_given_sets_its_field_and_no_other() -> None:
    for path, name in OPTIONS.items():
        form = form_of(("https://example.com/",), spec_options(**{name: SOME.get(name, 5)}))
        assert values_of(form).keys() - {"urls"} == {path}
        assert spec_of(form) != a_spec(), path


def test_each_option_is_there_once() -> None:
    flags = [field.flag for field in SHOWN]
    assert len(set(flags)) == len(flags) == len(SpecOptions.__struct_fields__)


def test_a_job_can_be_kept_for_ever() -> None:
    form = form_of(("https://example.com/",), spec_options(retention_s=FOREVER_S))
    assert form["retention_s"] == "forever"
    assert spec_of(form).retention_s == FOREVER_S


def test_options_set_the_fields_that_they_speak_of() -> None:
    options = spec_options(
        limits_pages=Ceiling(1),
        limits_duration_s=Ceiling(60.0),
        limits_bytes=Ceiling(2),
        limits_errors=Ceiling(3),
        retry_attempts=4,
        retry_first_s=60.0,
        delay_s=1.5,
        timeout_s=60.0,
        sitemaps=["robots"],
        scope=Scope.ANY,
        allow_addresses=["a"],
        headers=[Pair("X-A", "1")],
        tags=["t"],
        keep_html=Keep.HTML,
    )
    assert form_of(("u",), options) == {
        "urls": ["u"],
        "limits": {"pages": 1, "duration_s": 60, "bytes": 2, "errors": 3},
        "retry": {"attempts": 4, "first_s": 60},
        "delay_s": 1.5,
        "timeout_s": 60,
        "sitemaps": ["robots"],
        "scope": "any",
        "allow_addresses": ["a"],
        "headers": [["X-A", "1"]],
        "tags": ["t"],
        "keep_html": True,
    }


def test_what_a_template_asks_for_can_be_taken_away() -> None:
    options = spec_options(
        **dict.fromkeys(("limits_pages", "limits_duration_s", "max_depth"), Ceiling(None)),
        **{key: ["none"] for key in ("include", "tags", "webhooks")},
        **{key: [NO_PAIR] for key in ("headers", "extract")},
        **dict.fromkeys(("follow_nofollow", "ignore_robots", "allow_private"), False),
        store_noindex=False,
        keep_html=Keep.NONE,
    )

    form = form_of((), options)

    assert form == {
        "limits": {"pages": None, "duration_s": None},
        "max_depth": None,
        **{name: [] for name in ("include", "headers", "extract", "tags", "webhooks")},
        **dict.fromkeys(("follow_nofollow", "ignore_robots", "allow_private"), False),
        **dict.fromkeys(("store_noindex", "keep_html"), False),
    }
    base = spec_of(
        {
            "urls": ["https://example.com/"],
            "limits": {"pages": 5, "errors": 3},
            "ignore_robots": True,
            "include": ["*"],
            "headers": {"X-A": "1"},
        }
    )
    spec = spec_of(form, base)
    assert (spec.limits, spec.ignore_robots) == (Limits(errors=3), False)
    assert (spec.include, spec.headers) == ((), ())


def test_a_limit_or_a_header_is_a_value_or_the_word_none() -> None:
    assert [ceiling(count)(word) for word in ("20k", " None ")] == [Ceiling(20_000), Ceiling(None)]
    assert or_none(header)("none") == NO_PAIR
    with pytest.raises(ValueError, match="got 'many'; or 'none'"):
        ceiling(count)("many")


def test_a_webhook_is_a_url_or_a_json_object() -> None:
    assert webhook(" https://h/ ") == "https://h/"
    assert webhook('{"url": "https://h/"}') == {"url": "https://h/"}
    with pytest.raises(ValueError, match=r"expected a URL or a JSON object, got '\{url'"):
        webhook("{url")


def test_a_parameter_that_is_given_twice_is_a_list() -> None:
    assert params_of(["a=1", "b=x=y", "b=", " c =3"]) == {"a": "1", "b": ["x=y", ""], "c": "3"}


def test_a_parameter_without_a_name_or_value_is_refused(subtests: pytest.Subtests) -> None:
    for word in ["a", "=1", " =1", ""]:
        with subtests.test(word=word), pytest.raises(Invalid, match="expected NAME=VALUE"):
            params_of([word])


def test_a_parameter_is_declared_in_a_word() -> None:
    for word, parameter in [
        ("a", TemplateParameter(name="a", required=True)),
        ("a=", TemplateParameter(name="a", default="")),
        ("a:url", TemplateParameter(name="a", type=ParameterType.URL, required=True)),
        ("a:integer=20k", TemplateParameter(name="a", type=ParameterType.INTEGER, default=20_000)),
        ("a:number=0.5", TemplateParameter(name="a", type=ParameterType.NUMBER, default=0.5)),
        ("a:boolean=true", TemplateParameter(name="a", type=ParameterType.BOOLEAN, default=True)),
        ("a:duration=2h", TemplateParameter(name="a", type=ParameterType.DURATION, default="2h")),
        ("a:list=x", TemplateParameter(name="a", type=ParameterType.LIST, default="x")),
    ]:
        assert parameter_of(word) == parameter, word


def test_what_declares_no_parameter_is_refused(subtests: pytest.Subtests) -> None:
    for word in ["a:int", "A", "a:integer=x", "a:boolean=maybe", ":text"]:
        with subtests.test(word=word), pytest.raises(Invalid, match="param"):
            parameter_of(word)


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("urls", "URL"),
        ("sitemaps", "--sitemap"),
        ("include", "--include"),
        ("webhooks.0.url", "--webhook"),
        ("allow_addresses", "--allow-address"),
        ("per_host", "--per-host"),
        ("timeout", "--timeout"),
        ("delay_s", "--delay"),
        ("limits.pages", "--max-pages"),
        ("limits.duration", "--max-duration"),
        ("retry.attempts", "--attempts"),
        ("params.site", "--param site"),
        ("catch_up", "--catch-up"),
        ("zone", "--tz"),
        ("ends_at", "--ends"),
        ("spec.limits.pages", "--max-pages"),  # of a template
        ("overrides.urls.0", "URL"),  # of a schedule
        ("spec.name", "--name"),
        ("name", "NAME"),
    ],
)
def test_an_error_about_a_field_names_the_option_that_sets_it(field: str, option: str) -> None:
    def refuse(**_: object) -> None:
        raise Invalid(field, "expected more")

    own = {"name": "NAME", "params": "--param"}
    parameters = inspect.signature(cast("Any", schedules.create)).parameters.values()
    command, labels = flatten(refuse, parameters, refuse, own)

    with pytest.raises(Invalid) as refused:
        command(urls=[])
    assert str(refused.value) == f"{option}: expected more"
    assert labels.option_of(field) == option


def test_a_quota_is_named_by_its_option() -> None:
    labels = Labels({"pages": "--max-pages", "running": "--max-running"}, {"events": "--event"})

    assert labels.option_of("quota.ceilings.pages") == "--max-pages"
    assert labels.option_of("quota.running") == "--max-running"
    assert (labels.option_of("events.0"), labels.option_of("other.pages")) == (
        "--event",
        "other.pages",
    )
