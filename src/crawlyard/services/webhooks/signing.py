"""Signatures of webhook messages, by the Standard Webhooks library.

Source: Standard Webhooks, "Signature scheme" (symmetric).
"""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from crawlyard.errors import Invalid

_PREFIX = "whsec_"
_NEW_BYTES = 32
_FEWEST_BYTES, _MOST_BYTES = 24, 64


def new_secret() -> str:
    """Return a new secret: ``whsec_`` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def check_secret(value: str) -> None:
    """Check that *value* is a secret that can sign.

    Raises:
        Invalid: it is not ``whsec_`` and 24 to 64 bytes in base64; the message omits it.
    """
    expected = f"expected {_PREFIX} and {_FEWEST_BYTES} to {_MOST_BYTES} bytes in base64"
    if not value.startswith(_PREFIX):
        raise Invalid("secret", f"{expected}, got another prefix")
    try:
        size = len(base64.b64decode(value.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        raise Invalid("secret", f"{expected}, got invalid base64") from None
    if not _FEWEST_BYTES <= size <= _MOST_BYTES:
        raise Invalid("secret", f"{expected}, got {size} bytes")


def sign_body(message_id: str, at: datetime, body: bytes, keys: Sequence[str]) -> Mapping[str, str]:
    """Return the headers for *body*, sent at *at* and signed with each of *keys*."""
    at, text = at.astimezone(UTC), body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Signer(key).sign(message_id, at, text) for key in keys),
    }


def why_unverified(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return why a receiver must not trust a message; empty if it can.

    A valid signature is not enough: the timestamp must be within five minutes of now.
    """
    try:
        Signer(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        return str(error)
    except (ValueError, RuntimeError):  # not base64, or without a comma
        return "The signature or the secret is malformed"
    return ""
