"""Sealing of secrets that the store keeps: cookies and sessions of sites."""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12  # bytes, random: enough for four billion messages of one key
_FORM = b"\x01"  # the first byte of sealed data: AES-256-GCM, nonce, cipher text with its tag


class NotOpened(Exception):
    """Sealed data that cannot be opened: sealed with another key, or damaged."""


KEY_BYTES = 32


def new_key() -> str:
    """Return a new key for an instance, in hexadecimal."""
    return secrets.token_hex(KEY_BYTES)


class Seal:
    """Encrypts and authenticates with the *key* of an instance, a text of high entropy."""

    def __init__(self, key: str) -> None:
        # one round of a hash is enough, as the key is random, not a password
        self._cipher = AESGCM(hashlib.sha256(b"crawlyard seal" + key.encode()).digest())
        self._digest_key = hashlib.sha256(b"crawlyard digest" + key.encode()).digest()

    def seal(self, data: bytes) -> bytes:
        """Encrypt *data*; without the key, it can be neither read nor changed."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORM + nonce + self._cipher.encrypt(nonce, data, _FORM)

    def digest(self, data: bytes) -> str:
        """Return a hash of *data*; without the key, a guess of the data cannot be checked by it."""
        return hmac.new(self._digest_key, data, hashlib.sha256).hexdigest()

    def open(self, sealed: bytes) -> bytes:
        """Decrypt sealed data.

        Raises:
            NotOpened: it was sealed with another key, or is damaged.
        """
        form, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            if form != _FORM:
                raise NotOpened("its format is unknown to this version")
            return self._cipher.decrypt(nonce, rest, form)
        except (InvalidTag, ValueError):
            raise NotOpened("it was sealed with another key, or is damaged") from None
