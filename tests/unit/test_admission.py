"""What only the engine can refuse of a spec."""

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Invalid


def test_a_start_url_with_credentials_is_refused_without_repeating_them(
    subtests: pytest.Subtests,
) -> None:
    for field in ["urls", "sitemaps"]:
        for userinfo in ("zoe:s3cr%65t", "zoe", ":s3cr%65t", "zoe@b:s3cr@%65t"):
            given = ("http://example.com/", f"HTTP://{userinfo}@Example.org/x?q#f")
            with subtests.test(field=field), pytest.raises(Invalid) as refused:
                check_spec(replace(JobSpec(urls=given[:1]), **{field: given}))

            assert refused.value.field == field, field
            assert str(refused.value).startswith(
                f"{field}: http://example.org/x?q contains a user "
            ), field
            assert "'Authorization: Basic …' (--header; headers in JSON)" in str(refused.value), (
                field
            )
            assert not any(part in str(refused.value) for part in ("zoe", "s3cr", "%65t")), field


def test_an_at_sign_behind_the_host_is_no_credential() -> None:
    check_spec(JobSpec(urls=("http://example.com/@ada", "http://example.com/?mail=a:b@c")))


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    for url in ("http://ada:s3cret@h:x/", "ftp://ada:s3cret@h/", "http://ada:s3cret@a..b/"):
        with pytest.raises(Invalid, match=r"//\*\*\*@") as refused:
            check_spec(JobSpec(urls=(url,)))
        assert "s3cret" not in str(refused.value)
