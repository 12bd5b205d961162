"""JSON Merge Patch."""

from crawlyard.core.merge_patch import merged

# RFC 7396, appendix A, but for those whose result is null as a whole
EXAMPLES: list[tuple[object, object, object]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def test_a_patch_is_put_over_what_is_there_as_the_standard_shows() -> None:
    for target, patch, expected in EXAMPLES:
        assert merged(target, patch) == expected, (target, patch)


def test_what_was_there_stays_as_it_is() -> None:
    before = {"a": {"b": 1}}
    merged(before, {"a": {"b": 2}})
    assert before == {"a": {"b": 1}}
