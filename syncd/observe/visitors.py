"""Who asks the admin listener: a program, or somebody's browser on behalf of a page that is not ours.

The listener has no passwords; what is here keeps a page elsewhere from reaching it through a
visitor of that page.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::[0-9]*)?")
_ONLY_BROWSERS_SEND = ("origin", "sec-fetch-site")


def is_ours(host: str) -> bool:
    """Tell if a Host header names us and not a page's own domain (DNS rebinding).

    An address can't be rebound, nor can a name without a dot, which no public DNS has: that of
    a container, `localhost`. HTTP/1.0 sends none; no browser does that.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].strip("[]").lower().removesuffix(".")
    if "." not in name or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_from_a_page(named: Mapping[str, object]) -> bool:
    """Tell if a browser sent this request for a page, be it ours or another's: with a POST they always say so.

    `named` are the request's headers by name, in lower case.
    """
    return any(name in named for name in _ONLY_BROWSERS_SEND)
