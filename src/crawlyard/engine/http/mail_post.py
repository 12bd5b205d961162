"""Mail by SMTP, over verified TLS; the reply of the server is the response."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.webhook_post import TIMEOUT, PostResponse
from crawlyard.trust import add_trust

_PORTS = {"smtp": 587, "smtps": 465}


class MailServer(Struct, frozen=True, kw_only=True):
    """The SMTP server of an instance, and the sender of its mail."""

    url: str  # smtp://user:password@host:587 (STARTTLS) or smtps://…:465
    sender: str
    ca_file: Path | None = None

    async def send(self, recipient: str, message: EmailMessage) -> PostResponse:
        """Send a message to one address; return the reply of the server.

        Raises:
            FetchFailed: there was no reply, or no trusted connection.
        """
        try:
            return await asyncio.to_thread(self._send, recipient, message)
        except smtplib.SMTPResponseException as error:
            return _response(error.smtp_code, error.smtp_error)
        except smtplib.SMTPRecipientsRefused as error:
            return _response(*error.recipients[recipient])
        except ssl.SSLError as error:
            detail = f"no trusted connection: {error}"
            raise FetchFailed(ErrorKind.TLS, detail, transient=False) from error
        except (OSError, smtplib.SMTPException) as error:
            raise FetchFailed(ErrorKind.CONNECT, str(error), transient=True) from error

    def _send(self, recipient: str, message: EmailMessage) -> PostResponse:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        timeout_s = TIMEOUT.total_seconds()
        context = ssl.create_default_context()
        if self.ca_file is not None:
            add_trust(context, self.ca_file)
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=timeout_s)
        with server:
            if parts.scheme == "smtp":
                server.starttls(context=context)
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            sender = parseaddr(self.sender)[1]
            _check(*server.mail(sender))
            _check(*server.rcpt(recipient))
            code, text = server.data(message.as_bytes())
        return _response(code, text)


def _check(code: int, text: bytes) -> None:
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, text)


def _response(code: int, text: bytes | str) -> PostResponse:
    reply = text.decode(errors="replace") if isinstance(text, bytes) else text
    return PostResponse(status=code, retry_after="", excerpt=reply)
