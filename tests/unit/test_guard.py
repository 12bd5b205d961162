from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.http.guard import BlockedAddress, Guard, spec_guard
from crawlyard.engine.urls import canonical, hostname_of
from crawlyard.errors import Invalid


def refused(guard: Guard, host: str, address: str | None = None, port: int = 80) -> str:
    """Return why the connection is refused, or an empty string."""
    try:
        guard.check(host, address or host, port)
    except BlockedAddress as blocked:
        return str(blocked)
    return ""


REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "100.64.0.1": "CGNAT",
    "100.100.100.200": "CGNAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "a cloud host's own service",
    "169.254.169.254": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "reserved",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::127.0.0.1": "IPv4-compatible",
    "::8.8.8.8": "IPv4-compatible",
    "::ffff:0:127.0.0.1": "reserved",
    "64:ff9b::10.0.0.1": "a gateway to 10.0.0.1, which is private",
    "64:ff9b::169.254.169.254": "a gateway to 169.254.169.254, which is link-local",
    "64:ff9b:1::8.8.8.8": "NAT64",
    "64:ff9b:1:7f00:0:100::": "NAT64",
    "100::1": "reserved",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "a gateway to 127.0.0.1, which is loopback",
    "2002:a00:1::1": "a gateway to 10.0.0.1, which is private",
    "3fff::1": "documentation",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "4000::1": "reserved",
}

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001::1",
    "2002:808:808::1",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]


def test_an_address_inside_is_refused_with_the_reason() -> None:
    for address, why in REFUSED.items():
        assert why in refused(Guard(), "name.example", address), (address, why)


def test_a_public_address_is_not_refused() -> None:
    for address in PUBLIC:
        assert not refused(Guard(), "name.example", address), address


SPELLINGS = ["127.1", "2130706433", "0x7f.1", "0x7F000001", "0177.0.0.1", "017700000001"]
SPELLINGS += ["127.0.0.1.", "①②⑦.0.0.1", "127。0。0。1", "%31%32%37.0.0.1"]
SPELLINGS += ["[::1]", "[0:0::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]


def test_a_host_is_refused_in_every_spelling() -> None:
    for spelling in SPELLINGS:
        hostname = hostname_of(canonical(f"http://{spelling}/"))
        assert "loopback" in refused(Guard(), hostname), spelling


def test_a_refusal_names_host_address_and_the_way_out() -> None:
    assert refused(Guard(), "127.0.0.1") == (
        "127.0.0.1 is loopback; allow it with allow_addresses=127.0.0.1"
    )
    assert refused(Guard(), "intern.example", "::ffff:10.0.0.1") == (
        "intern.example resolves to ::ffff:10.0.0.1, which is private; "
        "allow it with allow_addresses=10.0.0.1"
    )


def test_what_is_no_address_is_refused() -> None:
    assert "'name' is not an IP address" in refused(Guard(), "h", "name")


def test_an_entry_opens_what_it_names() -> None:
    for entry, host, address, port in [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", 80),
        ("127.0.0.1", "localhost", "127.0.0.1", 8080),
        ("127.0.0.1", "localhost", "::ffff:127.0.0.1", 8080),
        ("127.0.0.1:8080", "localhost", "127.0.0.1", 8080),
        ("127.1", "127.0.0.1", "127.0.0.1", 80),
        ("0x7f000001:80", "127.0.0.1", "127.0.0.1", 80),
        ("10.0.0.0/8", "x", "10.200.3.4", 80),
        ("10.0.0.0/8:443", "x", "10.200.3.4", 443),
        ("::1", "::1", "::1", 80),
        ("[::1]", "::1", "::1", 80),
        ("[::1]:8080", "::1", "::1", 8080),
        ("fd00::/8", "x", "fd12::1", 80),
        ("[fd00::/8]:81", "x", "fd12::1", 81),
        ("[fd00::]/8:81", "x", "fd12::1", 81),
        ("::ffff:10.0.0.0/104", "x", "10.1.2.3", 80),
        ("64:ff9b:1::/48", "x", "64:ff9b:1::808:808", 80),
        ("localhost", "localhost", "127.0.0.1", 80),
        ("localhost", "localhost", "::1", 99),
        (" Intern.Example ", "intern.example", "192.168.1.1", 80),
        ("intern.example:8080", "intern.example", "192.168.1.1", 8080),
        ("bücher.example", "xn--bcher-kva.example", "10.0.0.1", 80),
    ]:
        assert refused(Guard(), host, address, port), (entry, host, address)
        assert not refused(Guard([entry]), host, address, port), (entry, host, address)


def test_an_entry_opens_nothing_else() -> None:
    for entry, host, address, port in [
        ("127.0.0.1", "127.0.0.2", "127.0.0.2", 80),
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 80),
        ("10.0.0.0/16", "x", "10.1.0.1", 80),
        ("10.0.0.1", "x", "64:ff9b::a00:1", 80),
        ("10.0.0.1", "x", "2002:a00:1::", 80),
        ("localhost", "other", "127.0.0.1", 80),
        ("example.com", "sub.example.com", "10.0.0.1", 80),
        ("example.com:80", "example.com", "10.0.0.1", 81),
        ("::1", "localhost", "127.0.0.1", 80),
        ("0.0.0.0/0", "x", "::1", 80),
        ("::/0", "x", "127.0.0.1", 80),
    ]:
        assert refused(Guard([entry]), host, address, port), (entry, host, address)


def test_allow_private_opens_everything() -> None:
    for address in REFUSED:
        assert not refused(Guard(allow_private=True), "x", address), address


NONSENSE = ["", " ", "*", "*.example.com", "http://example.com", "example.com/path", "/8"]
NONSENSE += ["10.0.0.1/8", "10.0.0.0/33", "256.1.1.1", "1.2.3.4.5", "fe80::1%eth0", "::1:x"]
NONSENSE += [
    "host:",
    "host:0",
    "host:65536",
    "host:http",
    "host:-1",
    "host:²",
    ":80",
    f"host:{'1' * 5_000}",
]
NONSENSE += ["[::1", "[::1]x", "[::1]:", "[host]:80", "[10.0.0.1]", "[]", "[fd00::/8]/8"]
NONSENSE += ["a b", "user@host", "a..b", "host\ud800", "host#x", "host?"]


def test_an_entry_that_names_nothing_is_refused(subtests: pytest.Subtests) -> None:
    for entry in NONSENSE:
        with (
            subtests.test(entry=entry),
            pytest.raises(Invalid, match="allow_addresses: expected HOST, IP or CIDR") as raised,
        ):
            Guard([entry])
        assert repr(entry) in str(raised.value), entry


def test_a_spec_says_what_its_guard_opens() -> None:
    closed = spec_guard(JobSpec(urls=("http://h/",)))
    guard = spec_guard(JobSpec(urls=("http://h/",), allow_addresses=("127.0.0.1:80",)))
    everything = spec_guard(JobSpec(urls=("http://h/",), allow_private=True))

    assert refused(closed, "127.0.0.1")
    assert not refused(guard, "127.0.0.1")
    assert refused(guard, "127.0.0.1", port=81)
    assert not refused(everything, "127.0.0.1", port=81)


NETWORKS = [IPv4Network(n) for n in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8")]
NETWORKS += [IPv4Network(n) for n in ("100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")]
NETWORKS += [IPv4Network(n) for n in ("224.0.0.0/4", "240.0.0.0/4", "198.18.0.0/15")]

inner = st.sampled_from(NETWORKS).flatmap(lambda n: st.ip_addresses(v=4, network=n))


@given(address=inner, tail=st.integers(0, 2**80 - 1))
def test_an_address_inside_is_refused_in_every_embedding(address: IPv4Address, tail: int) -> None:
    bits = int(address)
    embeddings = [
        IPv6Address(0xFFFF << 32 | bits),  # mapped
        IPv6Address(bits),  # compatible
        IPv6Address(0xFFFF << 48 | bits),  # translated
        IPv6Address(0x64FF9B << 96 | bits),  # NAT64
        IPv6Address(0x2002 << 112 | bits << 80 | tail),  # 6to4
        IPv6Address(0x20010000 << 96 | tail >> 16 << 32 | bits ^ 0xFFFFFFFF),  # Teredo's client
        IPv6Address(0x20010000 << 96 | bits << 64 | tail >> 16),  # and its server
        IPv6Address(0x64FF9B0001 << 80 | bits >> 16 << 64 | (bits & 0xFFFF) << 40),  # local NAT64
    ]
    assert refused(Guard(), "h", str(address))
    assert all(refused(Guard(), "h", str(embedding)) for embedding in embeddings)


@given(address=st.ip_addresses(v=6))
def test_beyond_what_is_given_out_nothing_is_open(address: IPv6Address) -> None:
    public = address in IPv6Network("2000::/3") or address in IPv6Network("64:ff9b::/96")
    if not public and address.ipv4_mapped is None:
        assert refused(Guard(), "h", str(address))
