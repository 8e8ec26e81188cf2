"""What may be asked for: the rules for URLs, and for the addresses that are really dialled.

A URL is judged before each hop, an address at the moment its socket is made, so that neither
a redirect, a name that resolves elsewhere nor an IP literal in any notation gets past. Pure
but for the sockets it makes; nothing here waits or connects.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.config.tree import Download
from syncd.mirror.setback import Lasting, Setback

if TYPE_CHECKING:
    from aiohttp import AddrInfoType
    from yarl import URL

LONGEST_URL = 8192
LONGEST_SHOWN = 300

# https://www.iana.org/assignments/iana-ipv4-special-registry (what it calls not globally
# reachable, the 6to4 relays of RFC 7526 included) and multicast, RFC 5771.
REFUSED_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers' NATs
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local: cloud metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)

# https://www.iana.org/assignments/ipv6-address-space: only 2000::/3 is global unicast, which
# leaves out loopback, ::a.b.c.d, fc00::/7, fe80::/10, fec0::/10, 64:ff9b:1::/48 and multicast.
GLOBAL_IPV6 = IPv6Network("2000::/3")
# https://www.iana.org/assignments/iana-ipv6-special-registry, as far as it lies in 2000::/3.
REFUSED_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks; no file lives there
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: leads to an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
# Two prefixes whose last 32 bits are the IPv4 address where the packets end up: mapped
# addresses (RFC 4291) and NAT64 (RFC 6052), which IPv6-only hosts need.
EMBEDDED_IPV4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,254}}\Z)(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_AS_GIVEN = re.compile(r"[!-~]+")
_PORT = re.compile(r":[0-9]+\Z")
_USUAL = re.compile(r'(https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[!"$->@-~]*)(?:\?[ -~]*)?')
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class PrivateAddress(OSError):
    """A name or literal led to an address that is not public.

    An OSError, because the connector goes on to the host's other addresses then.
    """


def is_public(address: str) -> bool:
    """Tell whether a numeric address may be dialled: global unicast, by the IANA registries."""
    try:
        parsed: IPv4Address | IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        if not any(parsed in network for network in EMBEDDED_IPV4):
            return parsed in GLOBAL_IPV6 and not any(parsed in network for network in REFUSED_IPV6)
        parsed = IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return not any(parsed in network for network in REFUSED_IPV4)


def socket_factory(*, allow_private: bool) -> Callable[[AddrInfoType], socket.socket]:
    """Make the connector's way to sockets, which sees every address that is dialled.

    The sockets raise nothing by themselves; asking for one to a refused address raises
    PrivateAddress before it exists.
    """

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not (allow_private or is_public(str(address[0]))):
            # One text for all addresses: the connector keeps the type only of equal errors.
            raise PrivateAddress("not a public address")
        return socket.socket(family, kind, protocol)

    return make


def parse(text: str) -> URL:
    """Read a URL. Raises a final Setback where it is none.

    Text that needs no quoting is kept to the byte, because a presigned URL is void once an escape in it has changed.
    """
    if len(text) > LONGEST_URL:
        raise _refusal(f"longer than {LONGEST_URL} characters")
    from yarl import URL  # noqa: PLC0415 - who fetches nothing does without its weight

    as_given = _AS_GIVEN.fullmatch(text) is not None
    if not as_given and _CONTROLS.search(text):
        raise _refusal("control characters in it")
    try:
        url = URL(text, encoded=as_given)
        _ = url.port  # read only when asked for
    except ValueError as error:
        raise _refusal("not a URL") from error
    return url


def admit(url: str | URL, download: Download, *, named: bool = False) -> URL:
    """Check a URL against the rules; it is to be sent as it is. Raises a final Setback.

    `named`: the config names its host elsewhere, so that `allowed_hosts` need not.
    """
    url = parse(url) if isinstance(url, str) else url
    if url.scheme != "https" and not (url.scheme == "http" and download.allow_http):
        raise _refusal(f"scheme {url.scheme or 'missing'!r}")
    if "@" in url.raw_authority:
        raise _refusal("a user name in it")
    host = (url.raw_host or "").lower()  # in ASCII, as the globs of the config are
    if not _HOST.fullmatch(host):
        raise _refusal("no usable host")
    if not (named or any(fnmatchcase(host.rstrip("."), pattern) for pattern in download.allowed_hosts)):
        raise _refusal(f"host {host} is not in download.allowed_hosts")
    if not (download.allow_private or _may_be_public(host.rstrip("."))):
        raise _refusal("not a public address")
    return url


def _may_be_public(host: str) -> bool:
    """Tell whether a host is a public address, or a name, whose addresses are seen when they are dialled.

    Behind a proxy we dial nobody, so what needs no look-up is judged here. A host that ends in a number is an IPv4
    address in some notation (https://url.spec.whatwg.org/#ends-in-a-number-checker): only the usual one is read.
    """
    last = host.rpartition(".")[2]
    if ":" in host or _NUMBER.fullmatch(last):
        return is_public(host)
    return last != "localhost"  # RFC 6761, section 6.3


def server_of(url: str | URL) -> str:
    """Name the server of a URL: its host, with the port unless it is the usual one; "" where there is none.

    No user or password is in it.
    """
    try:
        url = parse(url) if isinstance(url, str) else url
        return (url.host_port_subcomponent or "").lower()
    except Setback:
        return ""


def host_of(server: str) -> str:
    """Name the host of a server, for counting."""
    return _PORT.sub("", server)


def proxy_of(download: Download) -> str:
    """Name the proxy in use, without user and password; "" for none."""
    return server_of(download.proxy.text) if download.proxy else ""


def shown(text: str) -> str:
    """Write a URL for people: no user, query or fragment, nothing unprintable, bounded."""
    if (usual := _USUAL.fullmatch(text)) is not None and len(usual[1]) <= LONGEST_SHOWN:
        return usual[1]
    try:
        parts = urlsplit(text)
    except ValueError:
        return "an unreadable URL"
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if len(plain) > LONGEST_SHOWN:
        plain = plain[:LONGEST_SHOWN] + "..."
    return plain if plain.isprintable() else "".join(char if char.isprintable() else "?" for char in plain)


def _refusal(why: str) -> Setback:
    return Setback(f"a refused URL ({why})", Lasting.FINAL)
