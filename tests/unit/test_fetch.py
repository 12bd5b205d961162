"""An answer: its headers by name."""

from msgspec.structs import replace

from crawlyard.engine.http.fetch import Response


def test_headers_are_found_by_name_also_when_something_else_was_replaced() -> None:
    headers = (("Location", "a"), ("X-Other", "b"), ("location", "c"))
    response = Response(200, headers, b"", wire_bytes=0, truncated="", elapsed_ms=1)
    cut = replace(replace(response, truncated="here"), body=b"x")
    assert response.all_headers("location") == cut.all_headers("location") == ["a", "c"]
    assert (cut.header("x-other"), cut.header("x-none")) == ("b", "")
    assert replace(cut, truncated="", body=b"") == response
