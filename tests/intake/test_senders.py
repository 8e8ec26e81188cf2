from ipaddress import ip_address, ip_network

import pytest

from syncd.intake.senders import Strikes, sender, within

TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not from a trusted peer
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what the client claimed is not reached
        ("127.0.0.1", ["198.51.100.1, 10.1.2.3"], "198.51.100.1"),  # two proxies of ours
        ("127.0.0.1", ["198.51.100.1", "10.1.2.3"], "198.51.100.1"),  # the same in two headers
        ("127.0.0.1", ["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        ("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("", ["198.51.100.1"], "198.51.100.1"),  # a unix socket
        ("", [], None),
        ("127.0.0.1", ["garbage"], None),
        ("127.0.0.1", [""], None),
        ("127.0.0.1", ["198.51.100.1, unknown"], None),
    ],
)
def test_the_forwarded_address_is_believed_as_far_as_trusted_proxies_vouch_for_it(peer, forwarded, expected):
    assert sender(peer, forwarded, TRUSTED) == (expected and ip_address(expected))


def test_an_address_lies_within_networks_of_its_own_family_only():
    assert within(ip_address("10.1.2.3"), TRUSTED)
    assert within(ip_address("::1"), TRUSTED)
    assert not within(ip_address("::a01:203"), TRUSTED)


def test_refusals_beyond_the_burst_have_to_wait_until_time_has_paid_them_back():
    strikes, address = Strikes(burst=3, rate=1.0), ip_address("203.0.113.7")
    assert [strikes.strike(address, 100.0) for _ in range(4)] == [0, 0, 0, 1.0]
    assert strikes.strike(address, 100.0) == 1.0, "a long flood does not lock an address out for long"
    assert strikes.strike(address, 101.0) == 0
    assert strikes.strike(address, 101.0) == 1.0
    assert strikes.strike(address, 200.0) == 0


def test_each_address_has_its_own_count_and_an_ipv6_site_has_one():
    strikes = Strikes(burst=1, rate=1.0)
    assert strikes.strike(ip_address("203.0.113.7"), 0.0) == 0
    assert strikes.strike(ip_address("203.0.113.8"), 0.0) == 0
    assert strikes.strike(ip_address("2001:db8::1"), 0.0) == 0
    assert strikes.strike(ip_address("2001:db8::2"), 0.0) > 0
    assert strikes.strike(ip_address("2001:db8:0:1::1"), 0.0) == 0


def test_the_number_of_addresses_remembered_is_bounded():
    strikes = Strikes(burst=1, rate=1.0, addresses=2)
    for last in (1, 2, 3):
        strikes.strike(ip_address(f"203.0.113.{last}"), 0.0)
    assert strikes.strike(ip_address("203.0.113.3"), 0.0) > 0
    assert strikes.strike(ip_address("203.0.113.1"), 0.0) == 0, "the oldest was forgotten"
