"""Signatures, and secrets of the webhooks in a spec."""

import base64
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.receivers import with_webhooks
from crawlyard.services.webhooks.signing import check_secret, new_secret, sign_body, why_unverified
from tests.builders import a_spec
from tests.builders_webhooks import SECRET
from tests.services.hooks import JumpingClock

URL = "https://hooks.example.org/crawls"


def asking(**fields: Any) -> JobSpec:
    """Return a spec with one webhook, once it was checked."""
    return with_webhooks(a_spec(webhooks=(JobWebhook(**({"url": URL} | fields)),)))


class TestOfASpec:
    def test_a_secret_is_made_where_none_is_given(self) -> None:
        [webhook] = asking().webhooks
        [two] = asking().webhooks
        [three] = asking(secret=SECRET).webhooks
        check_secret(webhook.secret)
        assert webhook.secret != two.secret
        assert three.secret == SECRET

    def test_a_spec_that_has_all_of_it_stays_the_same_object(self) -> None:
        spec = asking()
        assert with_webhooks(spec) is spec
        assert with_webhooks(plain := a_spec()) is plain

    def test_one_that_is_not_fit_is_refused(self, subtests: pytest.Subtests) -> None:
        cases: list[tuple[dict[str, object], str]] = [
            ({"url": "https://127.0.0.1/"}, "url"),
            ({"url": "https://localhost/"}, "url"),
            ({"url": "http://hooks.example.org/"}, "url"),
            ({"url": "https://ada:b@hooks.example.org/"}, "url"),
            ({"url": "nonsense"}, "url"),
            ({"events": ("schedule.*",)}, "events"),
            ({"events": ()}, "events"),
            ({"secret": "whsec_"}, "secret"),
            ({"secret": "hunter2"}, "secret"),
        ]
        for fields, field in cases:
            with subtests.test(fields=fields), pytest.raises(Invalid) as refused:
                asking(**fields)
            assert refused.value.field == f"webhooks.0.{field}", fields
            assert "hunter2" not in str(refused.value), fields

    def test_what_the_spec_opens_is_open_for_them_as_well(self) -> None:
        cases: list[dict[str, object]] = [
            {"allow_private": True},
            {"allow_addresses": ("127.0.0.1", "hooks.example.org")},
        ]
        for opened in cases:
            urls = ("http://127.0.0.1:9/", "http://localhost/", "http://hooks.example.org/")
            webhooks = tuple(JobWebhook(url=url) for url in urls)
            spec = with_webhooks(a_spec(webhooks=webhooks, **opened))
            assert tuple(w.url for w in spec.webhooks) == urls, opened


class TestSigning:
    def test_every_key_signs_for_the_public_library(self) -> None:
        keys = [new_secret(), new_secret()]
        now = JumpingClock().wall()
        headers = sign_body("msg_1", now, b'{"a":1}', keys)
        for key in keys:
            assert Verifier(key).verify(b'{"a":1}', dict(headers)) == {"a": 1}
            assert why_unverified(key, headers, b'{"a":1}') == ""

    def test_what_is_wrong_is_said(self) -> None:
        for change, why in [
            ({"webhook-id": "msg_2"}, "No matching signature"),
            ({"webhook-timestamp": "1"}, "too old"),
            ({"webhook-timestamp": "99999999999"}, "too new"),
            ({"webhook-timestamp": "now"}, "Invalid Signature Headers"),
            ({"webhook-signature": "v1,AAAA"}, "No matching signature"),
            ({"webhook-signature": "v1"}, ""),  # which reason depends on the library's version
            ({"webhook-signature": ""}, "Missing required headers"),
        ]:
            headers = dict(sign_body("msg_1", JumpingClock().wall(), b"{}", [SECRET]))
            reason = why_unverified(SECRET, headers | change, b"{}")
            assert reason, change
            assert why in reason, change
            assert why_unverified(SECRET, headers, b"{}\n") == "No matching signature found", change
            assert "malformed" in why_unverified("whsec_ä", headers, b"{}"), change
            assert why_unverified(SECRET, headers, b"\xff"), change

    @pytest.mark.parametrize("size", [24, 32, 64])
    def test_a_secret_of_the_right_size_will_do(self, size: int) -> None:
        check_secret("whsec_" + base64.b64encode(b"x" * size).decode())

    def test_others_are_refused_and_not_shown(self, subtests: pytest.Subtests) -> None:
        for value in ["", "x", "whsec_", "whsec_?", "whsec_eHg=", "whsec_ä"]:
            with (
                subtests.test(value=value),
                pytest.raises(Invalid, match="24 to 64 bytes in base64") as refused,
            ):
                check_secret(value)
            assert refused.value.field == "secret", value
            assert len(value) < 7 or value not in str(refused.value), value
