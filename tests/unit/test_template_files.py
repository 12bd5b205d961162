import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.spec import MAX_SEEDS
from crawlyard.core.templates.template import FileFormat, ParameterType, TemplateParameter
from crawlyard.errors import Invalid
from crawlyard.services.templates.files import MAX_BYTES, draft_of, format_draft, read
from tests.builders_templates import a_draft, a_plain_draft

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=9)
RICH = a_draft(
    name="Ünter 😀",
    description="first line\nsecond: line",
    spec={
        "urls": ["{{start_url}}"],
        "include": ["*", "re:^a: b"],
        "headers": [["X-A", "yes"], ["X-A", "2026-01-02"]],
        "limits": {"pages": "{{pages}}", "duration_s": 0.5},
        "keep_html": False,
        "max_depth": None,
    },
    parameters=(
        TemplateParameter(
            name="start_url", type=ParameterType.URL, required=True, description="Where"
        ),
        TemplateParameter(name="pages", type=ParameterType.INTEGER, default=5, allowed=(5, 10)),
    ),
)


def refused(text: str, source: str = "t.yaml") -> tuple[str, str]:
    """Return the field and the message of the error."""
    with pytest.raises(Invalid) as error:
        read(text.encode(), source)
    return error.value.field, str(error.value).removeprefix(f"{error.value.field}: ")


@pytest.mark.parametrize("form", FileFormat)
@pytest.mark.parametrize("draft", [RICH, a_draft(), a_plain_draft()], ids=lambda d: d.name)
def test_a_template_is_read_as_it_is_written(form: FileFormat, draft: object) -> None:
    text = format_draft(draft, form)  # type: ignore[arg-type]  # a draft of the list above
    assert read(text.encode(), "t") == draft


def test_parameters_may_be_a_list_and_have_no_fields() -> None:
    listed = draft_of(
        {
            "name": "t",
            "parameters": [{"name": "a"}, {"name": "b", "type": "list", "required": True}],
            "spec": {"urls": ["{{a}}"], "tags": ["{{b}}"]},
        }
    )
    by_name = read(b"name: t\nparameters: {a: , b: {type: list, required: true}}\nspec: {}", "t")
    assert listed.parameters == by_name.parameters
    assert by_name.spec == {}


def test_yaml_and_json_are_read_as_text_where_text_is_meant() -> None:
    draft = read(b"name: t\nspec: {name: 2026-01-02}", "t")
    assert draft.spec == {"name": "2026-01-02"}
    draft = read('\ufeff{\n\t"name": "\\ud83d\\ude00",\n\t"spec": {}\n}'.encode(), "t.json")
    assert draft.name == "😀"
    draft = read(b"name: t\nspec: {extract: {on: .a, 5: .b, ~: .c}}", "t")
    assert draft.spec == {"extract": {"on": ".a", "5": ".b", "~": ".c"}}


def test_what_is_wrong_is_told_with_its_place() -> None:
    for text, field, message in [
        ("name: t\nspec: [", "t.yaml, line 3, column 1", "invalid YAML: "),
        ("name: t\n name: u", "t.yaml, line 2, column 6", "invalid YAML: "),
        ("name: t\nname: u", "t.yaml, line 2, column 1", "duplicate key 'name'"),
        ("name: &a t\nspec: {name: *a}", "t.yaml, line 2, column 14", "an alias"),
        ("spec: !!python/object:os.x {}", "t.yaml, line 1, column 7", "a tag"),
        ("name: !!bool maybe", "t.yaml, line 1, column 7", "a tag"),
        ("name: t\nspec: {max_depth: !!int ''}", "t.yaml, line 2, column 19", "a tag"),
        ("spec: [[!!binary aGk=, x]]", "t.yaml, line 1, column 9", "a tag"),
        ("!!str name: t", "t.yaml, line 1, column 1", "as the name of a field"),
        ("? [a]\n: b", "t.yaml, line 1, column 3", "as the name of a field"),
        ("name: t\n---\nname: u", "t.yaml, line 2, column 1", "a second document"),
        ("name: \x01", "t.yaml", "invalid YAML: "),
        ("[" * 21, "t.yaml, line 1, column 21", "more than 20 levels"),
        ("[" * 5000, "t.yaml, line 1, column", "invalid YAML: "),
        ("spec: [" + "1," * 500_000 + "]", "t.yaml, line 1, column", "more than 500,000 values"),
        ("spec: {delay: 1.0e+999}", "t.yaml, line 1, column 15", "too large"),
        ('{"name": "t",}', "t.yaml, line 1, column", "invalid JSON: "),
        ('{"name": "t", "name": "u"}', "t.yaml", "duplicate key 'name'"),
        ('{"name": NaN}', "t.yaml", "NaN is not a number"),
        ('{"a":' * 50_000, "t.yaml", "invalid JSON: "),
        ("name: t\nspec: {max_depth: " + "9" * 5000 + "}", "t.yaml", "invalid YAML: "),
        ("- a", "template", "expected an object with name, description"),
        ("", "template", "got null"),
        ("nmae: t", "nmae", "did you mean name"),
        ("spec: {}", "name", "expected the name of the template, got none"),
        ("name: 5", "name", "expected text, got 5; put it in quotes"),
        ("name: t\nspec: x", "spec", "expected an object of fields of a spec, got 'x'"),
        ("name: t\ndescription: 5", "description", "expected text"),
        ("name: t\nparameters: x", "parameters", "expected an object by names, or a list"),
        ("name: t\nparameters: {a: {typ: x}}", "parameters.a.typ", "did you mean type"),
        ("name: t\nparameters: {a: {type: x}}", "parameters.a.type", "expected one of text, url"),
        ("name: t\nparameters: {a: {type: []}}", "parameters.a.type", "expected one of text, url"),
        ("name: t\nparameters: {a: {required: 5}}", "parameters.a.required", "true or false"),
        ("name: t\nparameters: {a: {allowed: x}}", "parameters.a.allowed", "expected a list"),
        ("name: t\nparameters: [x]", "parameters.0", "expected an object"),
        ("name: t\nparameters: [{type: url}]", "parameters.0.name", "got none"),
    ]:
        bad_field, sentence = refused(text)
        assert bad_field.startswith(field), text
        assert message in sentence, text


def test_many_aliases_of_many_aliases_do_not_fill_the_memory() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 40))
    assert "an alias" in refused(bomb)[1]


def test_a_file_of_another_encoding_or_too_long_is_refused() -> None:
    with pytest.raises(Invalid, match="expected UTF-8"):
        read("name: ü".encode("latin-1"), "t")
    with pytest.raises(Invalid, match="at most 20,000,000 bytes"):
        read(json.dumps({"name": "x" * MAX_BYTES}).encode(), "t")


def test_a_template_of_as_many_urls_as_a_spec_takes_goes_through_a_file() -> None:
    for form in FileFormat:
        urls = [f"https://www.example.com/a/longer/path/to/the/page/{n}" for n in range(MAX_SEEDS)]
        draft = a_plain_draft(spec={"urls": urls})
        assert read(format_draft(draft, form).encode(), "t") == draft, form


def test_without_quotes_there_is_null_true_false_decimal_numbers_and_text() -> None:
    for word, value in [
        ("~", None),
        ("", None),
        ("null", None),
        ("yes", True),
        ("Off", False),
        ("20_000", 20_000),
        ("-3", -3),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.0e+3", 1000.0),
        ("'5'", "5"),
        # numbers of YAML alone are text, as in JSON
        ("1:30", "1:30"),
        ("1:" * 300_000 + "1.5", "1:" * 300_000 + "1.5"),
        ("0x" + "f" * 4000, "0x" + "f" * 4000),
        ("010", "010"),
        (".nan", ".nan"),
        ("-.inf", "-.inf"),
        ("2026-01-02", "2026-01-02"),
    ]:
        assert read(f"name: t\nspec:\n  x: {word}".encode(), "t").spec == {"x": value}, word


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(-1e9, 1e9) | TEXTS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=8,
    )
)
def test_json_values_are_read_as_they_are_written(value: object) -> None:
    draft = a_plain_draft(spec={"x": value})
    for form in FileFormat:
        assert read(format_draft(draft, form).encode(), "t") == draft
