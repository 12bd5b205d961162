"""Clients over TLS: whom they trust, and what they tell the server."""

import asyncio
import os
import socket
import ssl
import sys
from pathlib import Path

import httpx
import pytest

from crawlyard import Settings, Yard
from crawlyard.api.connection import Connection
from crawlyard.api.server import Server, tls_context
from crawlyard.engine.http.dns import Resolver, look_up
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.errors import Invalid, Unavailable
from tests.engine.ask import ask
from tests.engine.raw import ServeRaw, answer, saying

CERTIFICATE = Path(__file__).with_name("site_test.pem")
"""Of site.test, signed by itself, with its key, which guards nothing. Made by openssl x509."""


def context(server_names: list[str | None]) -> ssl.SSLContext:
    """Return the TLS context of site.test, which adds requested names to *server_names*."""
    tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls_context.load_cert_chain(CERTIFICATE)

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        server_names.append(name)

    tls_context.sni_callback = note
    return tls_context


async def fetch_in_process(url: str, *, trusted: bool) -> str:
    """Return what a process says that asks *url*, and trusts the certificate or not."""
    env = {"PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    env |= {"SSL_CERT_FILE": str(CERTIFICATE)} if trusted else {}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.engine.ask", url, "127.0.0.1"),
        cwd=Path(__file__).parents[2],
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return out.decode().strip()


async def test_a_server_with_a_trusted_certificate_gets_the_request(
    raw_server: ServeRaw,
) -> None:
    server_names: list[str | None] = []
    server = await raw_server(saying(answer(b"safe")), tls=context(server_names))

    result = await fetch_in_process(f"https://site.test:{server.port}/", trusted=True)

    assert result == "safe"
    assert server_names == ["site.test"]
    assert b"\r\nHost: site.test:" in server.asked[0]


async def test_a_trailing_dot_is_not_part_of_the_server_name(raw_server: ServeRaw) -> None:
    server_names: list[str | None] = []
    server = await raw_server(saying(answer(b"safe")), tls=context(server_names))

    result = await fetch_in_process(f"https://site.test.:{server.port}/", trusted=True)

    assert result == "safe"
    assert server_names == ["site.test"]


@pytest.mark.parametrize(
    ("host", "trusted"), [("site.test", False), ("other.test", True), ("127.0.0.1", True)]
)
async def test_a_server_with_an_untrusted_certificate_gets_no_request(
    raw_server: ServeRaw, host: str, trusted: bool
) -> None:
    server = await raw_server(saying(answer(b"safe")), tls=context([]))

    result = await fetch_in_process(f"https://{host}:{server.port}/", trusted=trusted)

    assert result.startswith("tls: no trusted connection: ")
    assert "certificate verify failed" in result
    assert server.asked == []


async def test_a_server_without_tls_gets_no_https_request(raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"plain")), welcome=b"HTTP/1.1 400 No\r\n\r\n")

    result = await fetch_in_process(f"https://site.test:{server.port}/", trusted=True)

    assert result.startswith("tls: ")
    assert server.asked == []


# --- authorities of one's own: the setting `ca_file`


async def test_a_crawl_trusts_the_authorities_of_ca_file_beside_the_systems(
    raw_server: ServeRaw,
) -> None:
    server = await raw_server(saying(answer(b"safe")), tls=context([]))
    url = f"https://site.test:{server.port}/"

    assert await ask(url, "127.0.0.1", CERTIFICATE) == "safe"
    assert (await ask(url, "127.0.0.1")).startswith("tls: no trusted connection")


async def test_webhooks_trust_the_authorities_of_ca_file(raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"heard")), tls=context([]))
    names = Resolver(8, lambda _, port: look_up("127.0.0.1", port))
    poster = Poster("test", names=names, ca_file=CERTIFICATE)

    response = await poster.post(
        f"https://site.test:{server.port}/", {}, b"{}", Guard(allow_private=True)
    )

    assert (response.status, response.excerpt) == (200, "heard")


async def test_a_client_trusts_the_authorities_that_the_environment_names(
    raw_server: ServeRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await raw_server(saying(answer(b"[]")), tls=context([]))
    there = Server(url=f"https://site.test:{server.port}", token="cyt_x")
    infos = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)

    async with Connection(there) as client:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await client.send("POST", "jobs")
    monkeypatch.setenv("CRAWLYARD_CA_FILE", str(CERTIFICATE))
    async with Connection(there) as client:
        assert (await client.send("POST", "jobs")).content == b"[]"


def test_a_client_with_a_ca_file_trusts_no_fewer_authorities_than_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = httpx.create_ssl_context().get_ca_certs(binary_form=True)
    monkeypatch.setenv("CRAWLYARD_CA_FILE", str(CERTIFICATE))

    context = tls_context()

    assert isinstance(context, ssl.SSLContext)
    assert without
    assert set(without) <= set(context.get_ca_certs(binary_form=True))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(None, "cannot be read: No such file or directory"), ("no PEM", "contains no certificate")],
)
async def test_a_ca_file_that_is_none_is_refused_by_the_name_of_the_setting(
    tmp_path: Path, content: str | None, wrong: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(Invalid, match=f"ca_file: {file} {wrong}.*CRAWLYARD_CA_FILE"):
        async with Yard.open(Settings(database_url="memory://", ca_file=file)):
            pass
