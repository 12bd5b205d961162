from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.templates.render import blame_parameter, check, fill, outline
from crawlyard.core.templates.secrets import (
    HIDDEN,
    credentials,
    hide_credentials,
    hide_params,
    secret_names,
    strip_credentials,
)
from crawlyard.core.templates.template import ParameterType, TemplateDraft, TemplateParameter
from crawlyard.errors import Invalid
from tests.builders_templates import PAGES, START_URL, a_draft, a_plain_draft, a_template

TEXT, LIST = ParameterType.TEXT, ParameterType.LIST


def refused(call: Any, *args: Any, **named: Any) -> tuple[str, str]:
    """Return the field and the message of the error."""
    with pytest.raises(Invalid) as error:
        call(*args, **named)
    return error.value.field, str(error.value).removeprefix(f"{error.value.field}: ")


def with_one(kind: ParameterType, place: object = "{{p}}", **fields: Any) -> TemplateDraft:
    """Return a template that uses parameter p only in its name."""
    return a_plain_draft(
        spec={"urls": ["https://example.com/"], "name": place},
        parameters=(TemplateParameter(name="p", type=kind, **fields),),
    )


class TestParameter:
    def test_its_name_has_a_grammar(self) -> None:
        for name in ["", "Pages", "1st", "a-b", "a b", "a" * 41, "ü"]:
            field, message = refused(TemplateParameter, name=name)
            assert field == "parameters", name
            assert message.endswith(f"got {name!r}"), name

    def test_its_value_is_read_by_its_type(self) -> None:
        for kind, raw, value in [
            (TEXT, "", ""),
            (ParameterType.URL, " HTTPS://a.example/x ", "HTTPS://a.example/x"),
            (ParameterType.INTEGER, "20k", 20_000),
            (ParameterType.INTEGER, -3, -3),
            (ParameterType.NUMBER, "0.5", 0.5),
            (ParameterType.NUMBER, 3, 3),
            (ParameterType.BOOLEAN, "True", True),
            (ParameterType.BOOLEAN, False, False),
            (ParameterType.DURATION, "1h30m", 5400),
            (ParameterType.DURATION, 0.5, 0.5),
            (ParameterType.SIZE, "500kB", 500_000),
            (LIST, "one", ["one"]),
            (LIST, ["a", "b"], ["a", "b"]),
        ]:
            parsed = TemplateParameter(name="p", type=kind).value(raw)
            assert (parsed, type(parsed)) == (value, type(value)), raw

    def test_a_wrong_value_names_the_parameter_and_what_was_expected(self) -> None:
        for kind, raw, message in [
            (TEXT, 5, "expected text, got 5; put it in quotes"),
            (TEXT, None, "expected text, got null"),
            (ParameterType.URL, "ftp://a.example/", "expected an http or https URL"),
            (ParameterType.URL, "https://", "expected an http or https URL"),
            (ParameterType.URL, "https://a\nb/", "expected an http or https URL"),
            (ParameterType.URL, "http://[::1/", "expected an http or https URL"),
            (ParameterType.INTEGER, "many", "expected a whole number"),
            (ParameterType.INTEGER, True, "expected a whole number"),
            (ParameterType.NUMBER, "x", "expected a number"),
            (ParameterType.NUMBER, True, "expected a number"),
            (ParameterType.BOOLEAN, "yes", "expected true or false"),
            (ParameterType.DURATION, "soon", "expected a duration"),
            (ParameterType.SIZE, "big", "expected a size"),
            (LIST, 5, "expected a list of texts"),
            (LIST, ["a", 5], "expected text, got 5"),
        ]:
            field, sentence = refused(TemplateParameter(name="p", type=kind).value, raw)
            assert field == "params.p", (kind, raw)
            assert sentence.startswith(message), (kind, raw)

    def test_only_allowed_values_are_taken_also_as_items_of_a_list(self) -> None:
        wait = TemplateParameter(name="p", type=ParameterType.DURATION, allowed=("1h", 60))
        assert [wait.value(text) for text in ("60m", "1m")] == [3600, 60]
        assert refused(wait.value, "2h") == ("params.p", "expected one of '1h', 60, got 7200")

        sections = TemplateParameter(name="p", type=LIST, allowed=("world", "sport"))
        assert sections.value(["sport", "world"]) == ["sport", "world"]
        assert refused(sections.value, ["sport", "art"]) == (
            "params.p",
            "expected one of 'world', 'sport', got 'art'",
        )

    def test_its_default_and_allowed_values_fit_its_type_and_a_required_one_has_none(
        self,
    ) -> None:
        whole = ParameterType.INTEGER
        assert (
            refused(TemplateParameter, name="p", type=whole, default="x")[0]
            == "parameters.p.default"
        )
        assert refused(TemplateParameter, name="p", type=whole, allowed=(1, "x"))[0] == (
            "parameters.p.allowed"
        )
        assert refused(TemplateParameter, name="p", default="c", allowed=("a", "b"))[0] == (
            "parameters.p.default"
        )

        field, _ = refused(TemplateParameter, name="p", required=True, default="x")
        assert field == "parameters.p.default"


class TestFill:
    def test_a_place_becomes_the_value_with_its_type_or_the_default(self) -> None:
        filled = fill(a_draft(), {"start_url": "https://a.example/", "pages": "5"})
        assert filled == {"urls": ["https://a.example/"], "limits": {"pages": 5}}
        filled = fill(a_draft(), {"start_url": "https://a.example/"})
        assert filled["limits"] == {"pages": 200}

    def test_inside_longer_text_a_value_becomes_text(self) -> None:
        for kind, raw, text in [
            (TEXT, "x", "<x>"),
            (ParameterType.INTEGER, 5, "<5>"),
            (ParameterType.BOOLEAN, True, "<true>"),
            (ParameterType.DURATION, "1m", "<60>"),
            (LIST, ["a", "b"], "<a,b>"),
        ]:
            assert fill(with_one(kind, "<{{ p }}>"), {"p": raw})["name"] == text, kind

    def test_a_list_in_a_list_is_put_there_item_by_item(self) -> None:
        urls = ["https://a.example/", "{{more}}", "https://d.example/"]
        draft = a_plain_draft(
            spec={"urls": urls}, parameters=(TemplateParameter(name="more", type=LIST),)
        )
        filled = fill(draft, {"more": ["https://b.example/", "https://c.example/"]})
        assert filled == {"urls": [f"https://{host}.example/" for host in "abcd"]}

    def test_what_has_no_value_is_left_out(self) -> None:
        optional = (TemplateParameter(name="p"), TemplateParameter(name="q"))
        spec = {
            "urls": ["https://a.example/", "{{p}}", "https://b.example/{{q}}"],
            "name": "{{p}}",
            "headers": [["X-A", "1"], ["X-B", "{{p}}"]],
            "limits": {"pages": "{{q}}"},
        }
        filled = fill(a_plain_draft(spec=spec, parameters=optional), {})
        assert filled == {
            "urls": ["https://a.example/", "https://b.example/"],
            "headers": [["X-A", "1"]],
            "limits": {},
        }

    def test_a_header_without_its_credential_is_left_out(self) -> None:
        for value in ["Bearer {{p}}", "session={{p}}", "{{p}}{{p}}"]:
            spec = {"headers": {"Authorization": value, "X-A": "a {{p}}"}}
            draft = a_plain_draft(spec=spec, parameters=(TemplateParameter(name="p"),))
            assert fill(draft, {})["headers"] == {"X-A": "a "}, value
            assert fill(draft, {"p": "x"})["headers"] == {
                "Authorization": value.replace("{{p}}", "x"),
                "X-A": "a x",
            }, value

    def test_a_webhook_without_its_url_is_left_out(self) -> None:
        hook = {"url": "{{p}}", "events": ["job.failed"]}
        spec = {"urls": ["https://a.example/"], "webhooks": [hook, "https://b.example/"]}
        optional = a_plain_draft(spec=spec, parameters=(TemplateParameter(name="p"),))
        required = a_plain_draft(
            spec=spec, parameters=(TemplateParameter(name="p", required=True),)
        )
        assert fill(optional, {})["webhooks"] == ["https://b.example/"]
        assert [hook.url for hook in check(required).webhooks] == ["https://b.example/"]

    @given(st.text())
    def test_a_value_cannot_name_another_parameter(self, text: str) -> None:
        value = f"{text}{{{{secret}}}}"
        spec = {"name": "{{p}}", "user_agent": "a {{p}}", "tags": ["{{secret}}"]}
        parameters = (
            TemplateParameter(name="p"),
            TemplateParameter(name="secret", default="s3cret"),
        )
        filled = fill(a_plain_draft(spec=spec, parameters=parameters), {"p": value})
        assert filled == {"name": value, "user_agent": f"a {value}", "tags": ["s3cret"]}

    def test_a_parameter_that_is_none_is_refused_with_the_one_that_is_meant(self) -> None:
        assert refused(fill, a_draft(), {"start_ur": "x"}) == (
            "params.start_ur",
            "there is no such parameter; did you mean start_url?",
        )
        assert refused(fill, a_plain_draft(), {"x": 1}) == (
            "params.x",
            "template plain has no parameters",
        )

    def test_a_missing_value_or_null_names_the_parameter_and_its_type(self) -> None:
        assert refused(fill, a_draft(), {}) == (
            "params.start_url",
            "expected a value of type url, got none",
        )
        assert refused(fill, a_draft(), {"start_url": None})[0] == "params.start_url"


class TestCheck:
    def test_the_outline_has_defaults_and_allowed_values_and_leaves_the_rest_out(self) -> None:
        spec = {"urls": ["{{start_url}}"], "include": ["*{{p}}*", "/a"], "scope": "{{s}}"}
        parameters = (
            START_URL,
            TemplateParameter(name="p"),
            TemplateParameter(name="s", allowed=("any", "host")),
        )
        assert outline(a_draft(spec=spec, parameters=parameters)) == {
            "include": ["/a"],
            "scope": "any",
        }

    def test_a_template_need_not_say_where_to_start(self) -> None:
        assert check(a_draft()).limits.pages == 200
        assert check(a_plain_draft(spec={})).urls

    def test_its_name_cannot_be_taken_for_something_else(self) -> None:
        for name in [
            "",
            " ",
            "a\nb",
            " a",
            "a/b",
            "x" * 101,
            "0192ab34-0000-7000-8000-0123456789ab",
        ]:
            assert refused(check, a_draft(name=name))[0] == "name", name

    def test_what_cannot_be_right_is_refused_before_anything_is_filled_in(self) -> None:
        for spec, field, message in [
            ({"urls": ["{{start_ur}}"]}, "urls.0", "did you mean start_url"),
            ({"urls": ["{{Start URL}}"]}, "urls.0", "expected {{name}}"),
            ({"urls": ["{{}}"]}, "urls.0", "expected {{name}}"),
            ({"headers": {"{{start_url}}": "x"}}, "headers.{{start_url}}", "not names"),
            ({"ulrs": ["{{start_url}}", "{{pages}}"]}, "ulrs", "did you mean urls"),
            ({"urls": "{{start_url}}", "max_depth": "{{pages}}", "scope": "x"}, "scope", "one of"),
            ({"urls": "{{start_url}}", "per_host": "{{pages}}", "delay": -1}, "delay", "seconds"),
            ({"urls": "{{start_url}}", "url_retries": "{{pages}}"}, "url_retries", "0 to 10"),
            ({"urls": "{{start_url}}"}, "parameters.pages", "{{pages}} is not used in the spec"),
            ({"a": {"b": {"c": {"d": {"e": {"f": {"g": "x"}}}}}}}, "a.b.c.d.e.f.g", "6 levels"),
        ]:
            bad_field, sentence = refused(check, a_draft(spec=spec))
            assert bad_field == field, spec
            assert message in sentence, spec

    def test_a_parameter_is_declared_once(self) -> None:
        assert refused(check, a_draft(parameters=(START_URL, PAGES, PAGES)))[0] == (
            "parameters.pages"
        )

    def test_there_is_a_limit_to_descriptions_and_parameters(self) -> None:
        many = tuple(TemplateParameter(name=f"p{n}") for n in range(101))
        assert refused(check, a_draft(description="x" * 2001))[0] == "description"
        assert refused(check, a_draft(parameters=many))[0] == "parameters"

    def test_a_value_that_was_hidden_is_not_taken_for_the_value(self) -> None:
        for spec, field in [
            ({"headers": {"Authorization": HIDDEN}}, "headers"),
            ({"webhooks": [{"url": "https://h.example/", "secret": HIDDEN}]}, "webhooks"),
            ({"urls": ["https://***@a.example/"]}, "urls"),
        ]:
            bad_field, message = refused(check, a_plain_draft(spec=spec))
            assert bad_field == field, spec
            assert "hidden value" in message, spec

    def test_a_default_that_was_hidden_is_not_taken_for_the_default(self) -> None:
        parameter = TemplateParameter(name="p", default=HIDDEN)
        secret = a_plain_draft(spec={"headers": {"Cookie": "{{p}}"}}, parameters=(parameter,))
        assert refused(check, secret)[0] == "parameters.p.default"
        check(a_plain_draft(spec={"name": "{{p}}"}, parameters=(parameter,)))


class TestBlame:
    template = a_template(
        spec={"scope": "{{p}}", "delay_s": "{{q}}", "urls": ["{{p}}", "{{q}}"]},
        parameters=(TemplateParameter(name="p"), TemplateParameter(name="q")),
    )

    def test_a_wrong_field_names_the_parameter_that_alone_filled_it(self) -> None:
        for field, blames in [("scope", "params.p"), ("delay", "params.q"), ("urls", "urls")]:
            assert (
                blame_parameter(Invalid(field, "expected more"), self.template).field == blames
            ), field
        message = str(blame_parameter(Invalid("scope", "expected more"), self.template))
        assert message == "params.p: expected more, as scope of the spec"


class TestSecrets:
    SPEC: ClassVar[dict[str, object]] = {
        "urls": ["https://ada:pw@a.example/@x", "https://b.example/?q=a@b"],
        "headers": {"Authorization": "Bearer abc", "X-Team": "docs"},
        "webhooks": [{"url": "https://u:p@hooks.example/", "secret": "whsec_x", "events": ["*"]}],
        "limits": {"pages": 5},
    }

    def test_they_are_taken_out_and_named(self) -> None:
        draft, taken_out = strip_credentials(a_plain_draft(spec=self.SPEC))
        assert draft.spec == {
            "urls": ["https://a.example/@x", "https://b.example/?q=a@b"],
            "headers": {"X-Team": "docs"},
            "webhooks": [],
            "limits": {"pages": 5},
        }
        assert taken_out == ("urls.0", "headers.Authorization", "webhooks.0")
        assert credentials(draft) == ()

    def test_they_are_hidden_where_a_template_is_shown(self) -> None:
        hidden_spec = hide_credentials(self.SPEC)
        assert hidden_spec["headers"] == {"Authorization": HIDDEN, "X-Team": "docs"}
        assert hidden_spec["webhooks"] == [
            {"url": "https://***@hooks.example/", "secret": HIDDEN, "events": ["*"]}
        ]
        assert hidden_spec["urls"] == ["https://***@a.example/@x", "https://b.example/?q=a@b"]

    def test_the_login_of_a_proxy_is_one_also_where_its_url_is_malformed(self) -> None:
        for proxy, bare, redacted in [
            ("socks5://me:s3cret@a.example:1", "socks5://a.example:1", "socks5://***@a.example:1"),
            ("http://me:s3c/#?@ret@a.example:1", "http://a.example:1", "http://***@a.example:1"),
            ("me:s3cret@a.example:1", "a.example:1", "***@a.example:1"),
            ("http://a.example:1", "http://a.example:1", "http://a.example:1"),
        ]:
            spec: dict[str, object] = {"proxies": [proxy]}
            clean, taken_out = strip_credentials(a_plain_draft(spec=spec))
            assert clean.spec == {"proxies": [bare]}
            assert taken_out == (("proxies.0",) if "@" in proxy else ())
            assert hide_credentials(spec) == {"proxies": [redacted]}
            assert hide_credentials({"proxies": proxy}) == {"proxies": redacted}

    def test_headers_may_be_pairs(self) -> None:
        spec = {"headers": [["Cookie", "a=b"], ["X-Team", "docs"]]}
        assert strip_credentials(a_plain_draft(spec=spec))[0].spec == {
            "headers": [["X-Team", "docs"]]
        }
        assert hide_credentials(spec) == {"headers": [["Cookie", HIDDEN], ["X-Team", "docs"]]}

    def test_a_place_for_one_stays_and_its_parameter_loses_what_it_had(self) -> None:
        for spec in [
            {"headers": {"Authorization": "Bearer {{p}}"}},
            {"headers": {"Cookie": "{{p}}"}},
            {"urls": ["https://{{p}}@a.example/"]},
            {"urls": ["https://{{p}}:{{p}}@a.example/"]},
            {"urls": ["https://{{ p }}:{{ p }}@a.example/"]},
            {"headers": {"Cookie": "session={{p}}; lang={{ p }}"}},
            {"headers": {"Authorization": 'Token token="{{p}}"'}},
            {"headers": {"X-Team": "Bearer {{ p }}"}},
            {"headers": [["{{p}}", "{{p}}"]]},
            {"webhooks": [{"url": "{{p}}", "secret": "{{p}}"}]},
            {"webhooks": ["{{p}}"]},
            {"webhooks": "{{p}}"},
            {"proxies": ["http://{{p}}@a.example:1", "socks5://{{p}}:{{p}}@a.example:1"]},
        ]:
            parameter = TemplateParameter(name="p", default="abc", allowed=("abc", "def"))
            draft, taken_out = strip_credentials(a_plain_draft(spec=spec, parameters=(parameter,)))
            assert draft.spec == spec, spec
            assert draft.parameters == (TemplateParameter(name="p", required=True),), spec
            assert taken_out == ("parameters.p.default", "parameters.p.allowed"), spec

    def test_text_beside_a_place_is_one_and_goes_with_the_parameter(self) -> None:
        cases: list[tuple[dict[str, object], str]] = [
            ({"headers": {"Cookie": "session=s3cret; lang={{p}}"}}, "headers.Cookie"),
            (
                {"headers": {"Authorization": "Basic YWRhOnMzY3JldA=={{p}}"}},
                "headers.Authorization",
            ),
            ({"headers": [["{{ p }}", "Bearer s3cret"]]}, "headers.{{ p }}"),
            ({"urls": ["https://{{ p }}:s3cret@a.example/"]}, "urls.0"),
            ({"urls": ["https://ada:{{ p }}@a.example/"]}, "urls.0"),
            ({"proxies": ["socks5://ada:{{ p }}@a.example:1"]}, "proxies.0"),
            ({"webhooks": ["https://hooks.example/{{p}}"]}, "webhooks.0"),
            ({"webhooks": [{"url": "https://hooks.example/", "secret": "{{p}}"}]}, "webhooks.0"),
        ]
        for spec, path in cases:
            parameter = TemplateParameter(name="p", default="s3cret")
            draft = a_plain_draft(
                spec={"urls": ["https://a.example/"]} | spec, parameters=(parameter,)
            )

            clean, taken_out = strip_credentials(draft)

            assert clean.parameters == (), spec
            assert taken_out == (path, "parameters.p"), spec
            assert "s3cret" not in str(clean), spec
            check(clean)

    def test_a_parameter_that_stands_elsewhere_too_stays(self) -> None:
        spec = {"headers": {"Cookie": "session=abc; lang={{p}}"}, "name": "in {{p}}"}
        clean, taken_out = strip_credentials(
            a_plain_draft(spec=spec, parameters=(TemplateParameter(name="p"),))
        )
        assert clean.parameters == (TemplateParameter(name="p"),)
        assert taken_out == ("headers.Cookie",)

    def test_a_header_is_one_by_its_name_or_by_its_beginning(self) -> None:
        for header in [
            ("X-JWT", "s3cret"),
            ("X-Signature", "s3cret"),
            ("X-PWD", "s3cret"),
            ("X-Team", "bearer s3cret"),
            ("X-Team", "Digest username=ada"),
        ]:
            assert (
                strip_credentials(a_plain_draft(spec={"headers": [list(header)]}))[0].spec[
                    "headers"
                ]
                == []
            ), header
            assert hide_credentials({"headers": [header]})["headers"] == [[header[0], HIDDEN]], (
                header
            )

    def test_a_header_of_plain_words_is_none(self) -> None:
        for value in ["docs", "Token of love", "basic", "digest of the day"]:
            assert credentials(a_plain_draft(spec={"headers": {"X-Team": value}})) == (), value

    def test_a_webhook_goes_whole_unless_its_url_is_open(self) -> None:
        hook = {"url": "{{p}}", "secret": "whsec_x", "events": ["job.failed"]}
        spec = {"webhooks": ["https://hooks.example/x", hook, {"url": "https://hooks.example/y"}]}
        draft = a_plain_draft(
            spec=spec, parameters=(TemplateParameter(name="p", default="https://h/"),)
        )

        clean, taken_out = strip_credentials(draft)

        assert clean.spec == {"webhooks": [{"url": "{{p}}", "events": ["job.failed"]}]}
        assert clean.parameters == (TemplateParameter(name="p", required=True),)
        assert taken_out == (
            "webhooks.0",
            "webhooks.1.secret",
            "webhooks.2",
            "parameters.p.default",
        )

    def test_the_url_of_a_webhook_shows_no_password(self) -> None:
        assert hide_credentials({"webhooks": ["https://u:s3cret@hooks.example/x"]})["webhooks"] == [
            "https://***@hooks.example/x"
        ]

    def test_values_of_parameters_are_hidden_by_the_place_they_fill_or_by_their_name(self) -> None:
        spec = {"headers": {"X-A": "Bearer {{p}}"}, "name": "{{author}}"}
        params = {"p": "s3cret", "author": "ada", "list": ["https://u:p@a.example/"], "none": None}
        redacted = hide_params(params, secret_names(spec))
        assert redacted == params | {"p": HIDDEN, "list": ["https://***@a.example/"]}
        assert hide_params({"api_token": ["a"], "pages": 5, "key": None}) == {
            "api_token": HIDDEN,
            "pages": 5,
            "key": None,
        }

    def test_a_long_text_of_places_is_looked_through_at_once(self) -> None:
        spec = {
            "urls": ["https://" + "{{ a }}" * 20_000],
            "headers": {"Cookie": "{{a}};" * 20_000 + "s3cret", "X-Token": " " * 100_000 + "="},
        }
        assert credentials(a_plain_draft(spec=spec)) == ("headers.Cookie", "headers.X-Token")

    def test_a_host_that_is_open_has_no_password_in_its_default(self) -> None:
        parameter = TemplateParameter(name="host", default="ada:s3cret@a.example", allowed=())
        draft = a_plain_draft(spec={"urls": ["https://{{ host }}/"]}, parameters=(parameter,))
        clean, taken_out = strip_credentials(draft)
        assert clean.parameters == (TemplateParameter(name="host", default="a.example"),)
        assert taken_out == ("parameters.host.default",)

    def test_a_url_in_a_parameter_has_none_either(self) -> None:
        parameter = TemplateParameter(name="p", default="https://u:p@a.example/")
        draft = a_plain_draft(spec={"urls": ["{{p}}"]}, parameters=(parameter,))
        clean, taken_out = strip_credentials(draft)
        assert clean.parameters[0].default == "https://a.example/"
        assert taken_out == ("parameters.p.default",)

    def test_what_has_none_stays_as_it_is(self) -> None:
        assert strip_credentials(a_draft()) == (a_draft(), ())
