"""TLS trust: whose certificates the clients of a yard accept."""

import ssl
from functools import cache
from pathlib import Path

from crawlyard.errors import Invalid

CA_FILE = "CRAWLYARD_CA_FILE"
"""The environment variable of the setting `ca_file`."""


@cache
def trusting(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return what a client verifies certificates with.

    It trusts the authorities of the system, and those of *ca_file* as well.

    Raises:
        Invalid: the file cannot be read, or has no certificate in it.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        trust_also(context, ca_file)
    return context


def trust_also(context: ssl.SSLContext, ca_file: Path) -> None:
    """Let *context* trust the authorities of *ca_file*, in addition to those that it trusts.

    Raises:
        Invalid: the file cannot be read, or has no certificate in it.
    """
    hint = f"{CA_FILE} names a file of certificates in PEM format"
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise Invalid("ca_file", f"{ca_file} holds no certificate; {hint}") from None
    except OSError as error:
        message = f"{ca_file} cannot be read: {error.strerror}; {hint}"
        raise Invalid("ca_file", message) from None
