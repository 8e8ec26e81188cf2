import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ssrfguard import DEFAULT_DENIED

from syncd.config.tree import Download
from syncd.mirror.guard import (
    LONGEST_URL,
    PrivateAddress,
    admit,
    host_of,
    is_public,
    server_of,
    shown,
    socket_factory,
)
from syncd.mirror.setback import Lasting, Setback

ANY = Download(allowed_hosts=["*"])
SHIPPED = Download()


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),  # noqa: S104 - data
        *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
        *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1"),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1"),
        *("::ffff:10.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1"),
        *("64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1"),
        *("2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1"),
        *("fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fec0::1", "ff02::1", "ff0e::1"),
        *("localhost", "", "127.1", "0x7f.0.0.1", "2130706433"),
    ],
)
def test_what_is_not_public_is_not_dialled(address):
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PrivateAddress):
        socket_factory(allow_private=False)((family, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.32.0.0"),
        *("192.0.1.0", "223.255.255.255", "52.218.0.1", "2606:4700::1111", "2a00:1450:4009::1", "2001:200::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    ],
)
def test_what_is_public_is_dialled(address):
    assert is_public(address)


def test_private_addresses_are_dialled_where_that_is_wanted():
    factory = socket_factory(allow_private=True)
    factory((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443))).close()


def _near(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[str]:
    """Name the first and last address of a network, and their neighbours outside."""
    ends = {int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1}
    return [str(type(network[0])(end)) for end in ends if 0 <= end < 1 << network.max_prefixlen]


@pytest.mark.parametrize("address", [end for block in DEFAULT_DENIED.blocks for end in _near(block.network)])
def test_an_independent_table_finds_nothing_to_refuse_at_the_edges(address):
    assert not is_public(address) or not DEFAULT_DENIED.classify(address).blocked


@given(st.ip_addresses())
@example(ipaddress.ip_address("64:ff9b::a9fe:a9fe"))
def test_an_independent_table_finds_nothing_to_refuse(address):
    assert not is_public(str(address)) or not DEFAULT_DENIED.classify(address).blocked


@given(st.ip_addresses(v=4))
def test_the_public_ipv4_addresses_are_all_let_through(address):
    anycast = any(
        address in ipaddress.ip_network(net) for net in ("192.0.0.9/32", "192.0.0.10/32")
    )  # port control and TURN, where no file lives
    assert anycast or is_public(str(address)) is not DEFAULT_DENIED.classify(address).blocked


@pytest.mark.parametrize(
    "url",
    [
        "https://production-banners.s3.eu-west-1.amazonaws.com/acme/b.png?X-Amz-Signature=a%2Fb%2f",
        "https://CDN.Abyssale.COM/b.png",
        "https://cdn.abyssale.com./b.png",
        "https://cdn.abyssale.com:8443/b.png",
    ],
)
def test_the_platforms_own_urls_are_admitted_to_the_byte(url):
    admitted = admit(url, SHIPPED)
    assert url.endswith(admitted.raw_path_qs)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://cdn.abyssale.com/b.png", "scheme"),
        ("ftp://cdn.abyssale.com/b.png", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("//cdn.abyssale.com/b.png", "scheme"),
        ("/b.png", "scheme"),
        ("", "scheme"),
        ("https:///b.png", "host"),
        ("https:b.png", "host"),
        ("https://user@cdn.abyssale.com/", "user name"),
        ("https://user:pass@cdn.abyssale.com/", "user name"),
        ("https://@cdn.abyssale.com/", "user name"),
        ("https://abyssale.com/", "allowed_hosts"),
        ("https://evilabyssale.com/", "allowed_hosts"),
        ("https://cdn.abyssale.com.evil.com/", "allowed_hosts"),
        ("https://evil.com/.abyssale.com", "allowed_hosts"),
        ("https://evil.com?.abyssale.com", "allowed_hosts"),
        ("https://evil.com#.abyssale.com", "allowed_hosts"),
        ("https://evil.com\\.abyssale.com/", "not a URL"),
        ("https://evil.com%00.abyssale.com/", "host"),
        ("https://evil.com%2f.abyssale.com/", "host"),
        ("https://a..abyssale.com/", "host"),
        ("https://" + "a" * 64 + ".abyssale.com/", "host"),
        ("https://" + "a." * 130 + "abyssale.com/", "host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[::1/", "not a URL"),
        ("https://cdn.abyssale.com:99999/", "not a URL"),
        ("https://cdn.abyssale.com:x/", "not a URL"),
        ("https://cdn.abyssale.com/\r\nHost: x", "control"),
        ("https://cdn.abyssale.com/\x00", "control"),
        ("https://cdn.abyssale.com/\ud800", "control"),
        ("https://cdn.abyssale.com/" + "a" * LONGEST_URL, "longer"),
    ],
)
def test_a_url_against_the_rules_is_refused_for_good(url, why):
    with pytest.raises(Setback, match=why) as refused:
        admit(url, SHIPPED)
    assert refused.value.lasting is Lasting.FINAL


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1", "127.1", "0", "1.2.3.4.5"),
        *("10.0.0.1", "169.254.169.254", "a.127", "0x", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1]", "[fd00::1]"),
        *("localhost", "LocalHost.", "a.localhost"),
    ],
)
def test_a_host_that_is_no_public_address_is_refused_before_anyone_is_asked(host):
    with pytest.raises(Setback, match="not a public address") as refused:
        admit(f"https://{host}/", ANY)
    assert refused.value.lasting is Lasting.FINAL
    assert host_of(server_of(admit(f"https://{host}/", Download(allowed_hosts=["*"], allow_private=True)).human_repr()))


@pytest.mark.parametrize(
    "host", ["1.1.1.1", "8.8.8.8.", "[2606:4700::1111]", "a.0x7g", "1.example", "localhost.example"]
)
def test_a_public_address_and_a_name_are_admitted(host):
    assert admit(f"https://{host}/", ANY)


@pytest.mark.parametrize("host", ["cdn.bücher.example", "CDN.XN--bcher-kva.example", "cdn.b\u0075\u0308cher.example"])
def test_a_host_in_unicode_matches_in_its_ascii_form(host):
    assert admit(f"https://{host}/", Download(allowed_hosts=["*.XN--BCHER-KVA.example"]))


def test_http_is_admitted_where_that_is_wanted():
    assert admit("http://example.com/", Download(allowed_hosts=["*"], allow_http=True))


@given(st.text(max_size=60).map("https://".__add__) | st.text(max_size=60))
def test_any_text_is_admitted_or_refused(text):
    try:
        url = admit(text, ANY)
    except Setback:
        assert isinstance(host_of(server_of(text)), str)
    else:
        assert url.scheme == "https"
        assert host_of(server_of(text))


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://u:p@h.example/a/b.png?X-Amz-Signature=s#f", "https://h.example/a/b.png"),
        ("https://h.example/a\nb\u202e", "https://h.example/ab?"),
        ("https://[::1", "an unreadable URL"),
        ("https://h.example/" + "a" * 999, "https://h.example/" + "a" * 282 + "..."),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, plain):
    assert shown(url) == plain
