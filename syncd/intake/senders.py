"""Who sent a request, and how many refused ones came from there.

A forwarded address is believed only from a trusted peer. The count of refusals is bounded in
memory whatever the number of addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_IPV6_SITE = 64  # bits; whoever has one address of a /64 has them all


def sender(peer: str, forwarded: Sequence[str], trusted: Iterable[IPNetwork]) -> IPAddress | None:
    """Return the address that a request came from, or None where it can't be told.

    `peer` is the socket's own peer, empty for a unix socket, which counts as trusted;
    `forwarded` are the values of X-Forwarded-For. They are walked right to left for as long
    as the address so far is a trusted proxy's; an entry that is no address ends it in None.
    """
    address = _parse(peer) if peer else None
    if peer and address is None:
        return None
    for entry in reversed(",".join(forwarded).split(",") if forwarded else ()):
        if address is not None and not within(address, trusted):
            return address
        address = _parse(entry.strip())
        if address is None:
            return None
    return address


def within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Tell if an address lies in one of the networks."""
    return any(address in network for network in networks)


@lru_cache(maxsize=1024)
def _parse(text: str) -> IPAddress | None:
    """Read `203.0.113.7` or `2001:db8::1`, with or without a port; IPv4 mapped into IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class Strikes:
    """The refusals of each address: `burst` are free, then `rate` a second.

    One float an address, the time at which its count is back at zero; the address that was
    quiet the longest is forgotten first.
    """

    def __init__(self, burst: int, rate: float, addresses: int = 10_000) -> None:
        self._interval = 1 / rate
        self._allowance = burst / rate
        self._most = addresses
        self._clear_at: dict[IPAddress | None, float] = {}

    def strike(self, address: IPAddress | None, now: float) -> float:
        """Count a refusal at `now` (monotonic seconds); return the seconds to wait, 0 within the burst."""
        key = _site(address)
        clear_at = max(self._clear_at.pop(key, now), now) + self._interval
        over = clear_at - now - self._allowance
        self._clear_at[key] = min(clear_at, now + self._allowance)
        if len(self._clear_at) > self._most:
            del self._clear_at[next(iter(self._clear_at))]
        return max(0.0, over)


def _site(address: IPAddress | None) -> IPAddress | None:
    if isinstance(address, IPv6Address):
        host_bits = address.max_prefixlen - _IPV6_SITE
        return IPv6Address(int(address) >> host_bits << host_bits)
    return address
