"""Mail of notification channels, sent to a real SMTP server with STARTTLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crawlyard.core.access.user import LOCAL
from crawlyard.core.webhooks.webhook import Delivery
from crawlyard.engine.http.mail_post import MailServer
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.delivery import DeliveryOptions
from crawlyard.services.webhooks.notifications import Notifications
from crawlyard.store.queries import WebhookQuery
from tests.services.hooks import yard_of
from tests.services.test_notifications import YARD, ChannelRig

SENDER = "Crawlyard <yard@example.org>"


class Mailbox:
    """Keeps the mail that a server accepted."""

    def __init__(self, reply: str = "250 stored") -> None:
        self.reply = reply
        self.envelopes: list[Envelope] = []
        self.users: list[bytes] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - of aiosmtpd
        self.envelopes.append(envelope)
        return self.reply

    def authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        data: object,
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login)
        return AuthResult(success=data.password == b"p@ss")

    @property
    def messages(self) -> list[EmailMessage]:
        return [
            message_from_bytes(envelope.original_content or b"", policy=policy.default)
            for envelope in self.envelopes
        ]


def certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@asynccontextmanager
async def smtp_server(mailbox: Mailbox, pem: Path, *, tls: bool = True) -> AsyncIterator[int]:
    """Serve SMTP on loopback; yield its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def protocol() -> SMTP:
        return SMTP(
            mailbox,
            hostname="mail.test",
            tls_context=context if tls else None,
            require_starttls=tls,
            auth_required=tls,
            authenticator=mailbox.authenticate,
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class MailRig(ChannelRig):
    """A store with a channel for mail."""

    def __init__(self, port: int, pem: Path | None) -> None:
        super().__init__()
        url = f"smtp://yard:p%40ss@127.0.0.1:{port}"
        server = MailServer(url=url, sender=SENDER, ca_file=pem)
        self.options = DeliveryOptions(public_url=YARD, mail=server)

    async def create(self, address: str = "ops@example.org") -> None:
        yard = yard_of(self.store, self.clock)
        services = yard.services
        services.settings = services.settings.with_values(
            smtp_url="smtp://127.0.0.1", mail_from=SENDER
        )
        await Notifications(services, LOCAL).create("ops", "mail", address)

    async def only_delivery(self) -> Delivery:
        """Return the only delivery, after its first attempt."""
        [channel] = await self.store.webhooks.find(WebhookQuery(name="ops"), 2)
        return await self.attempts(channel, 1)


async def test_mail_arrives_over_tls_with_a_login(tmp_path: Path) -> None:
    mailbox, pem = Mailbox(), certificate(tmp_path)
    async with smtp_server(mailbox, pem) as port:
        rig = MailRig(port, pem)
        async with rig.delivering():
            await rig.create()
            job = await rig.ending(name="Büro\r\nBcc: all@example.org")
            await rig.clock.jump(timedelta(seconds=1))
            await rig.clock.jump(timedelta(seconds=30))
            delivery = await rig.only_delivery()

    [message], [envelope] = mailbox.messages, mailbox.envelopes
    assert mailbox.users == [b"yard"]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("yard@example.org", ["ops@example.org"])
    assert message["Subject"] == "Büro Bcc: all@example.org failed"
    assert message["Bcc"] is None
    assert (message["From"], message["To"]) == (SENDER, "ops@example.org")
    assert message["Message-ID"] == f"<{delivery.id}@example.org>"
    text = message.get_content()
    assert "connection refused" in text
    assert f"{YARD}/jobs/{job.id}" in text
    assert (delivery.attempts[0].status, delivery.attempts[0].excerpt) == (250, "stored")


async def test_a_server_without_trusted_tls_gets_no_mail(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    for tls, trusted, problem in (
        (True, None, "certificate verify failed"),
        (False, pem, "STARTTLS extension not supported"),
    ):
        mailbox = Mailbox()
        async with smtp_server(mailbox, pem, tls=tls) as port:
            rig = MailRig(port, trusted)
            async with rig.delivering():
                await rig.create()
                await rig.notifications().test("ops")
                await rig.clock.jump(timedelta(seconds=1))
                delivery = await rig.only_delivery()

        assert problem in delivery.attempts[0].error
        assert (mailbox.envelopes, mailbox.users) == ([], [])


async def test_a_refusal_is_tried_again_and_logged(tmp_path: Path) -> None:
    mailbox, pem = Mailbox("452 mailbox full"), certificate(tmp_path)
    async with smtp_server(mailbox, pem) as port:
        rig = MailRig(port, pem)
        async with rig.delivering():
            await rig.create()
            await rig.notifications().test("ops")
            await rig.clock.jump(timedelta(seconds=1))
            delivery = await rig.only_delivery()

    [attempt] = delivery.attempts
    assert (attempt.status, attempt.error) == (452, "answered 452")
    assert attempt.excerpt == "mailbox full"
    assert delivery.ended_at is None


async def test_an_address_with_a_line_break_is_refused() -> None:
    rig = MailRig(1, None)
    for address in ("a@example.org\r\nBcc: b@example.org", "a@example.org, b@example.org", "ops"):
        with pytest.raises(Invalid, match="expected one mail address"):
            await rig.create(address)


async def test_a_channel_for_mail_needs_a_server_and_a_sender() -> None:
    rig = MailRig(25, None)
    services = yard_of(rig.store, rig.clock).services
    for missing in ({"smtp_url": "smtp://127.0.0.1"}, {"mail_from": SENDER}):
        services.settings = services.settings.with_values(
            **{"smtp_url": "", "mail_from": "", **missing}
        )
        with pytest.raises(Invalid, match="an admin sets smtp_url and mail_from"):
            await Notifications(services, LOCAL).create("ops", "mail", "ops@example.org")
