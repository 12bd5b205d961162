"""TLS trust: certificate authorities that the clients of an instance accept."""

import ssl
from functools import cache
from pathlib import Path

from crawlyard.errors import Invalid

CA_FILE = "CRAWLYARD_CA_FILE"
"""The environment variable for the setting `ca_file`."""


@cache
def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the TLS context with which a client verifies certificates.

    It trusts the system's certificate authorities, and those in *ca_file* as well.

    Raises:
        Invalid: the file cannot be read, or contains no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        add_trust(context, ca_file)
    return context


def add_trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Add the certificate authorities in *ca_file* to those that *context* trusts.

    Raises:
        Invalid: the file cannot be read, or contains no certificate.
    """
    hint = f"{CA_FILE} names a file of certificates in PEM format"
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise Invalid("ca_file", f"{ca_file} contains no certificate; {hint}") from None
    except OSError as error:
        message = f"{ca_file} cannot be read: {error.strerror}; {hint}"
        raise Invalid("ca_file", message) from None
