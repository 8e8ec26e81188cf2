"""What every source offers: the verdict on a request's signature, and the event in its body.

A source is one module of pure functions about one platform; the clock and the secrets come in
as arguments. It reads no config, opens nothing and knows nobody else in the house. What only
the platform's API can tell is the business of its `Api`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from syncd.model import Event, Malformed, Unknown


@dataclass(frozen=True, slots=True)
class Verified:
    """The platform sent this. `signed_at` is the text that was signed together with the body, where there was one."""

    signed_at: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nobody knows who sent this. `reason` is for the log, never for the answer."""

    reason: str


class Source(Protocol):
    """The functions of a source's module."""

    @property
    def EVENTS(self) -> Sequence[str]:  # noqa: N802 - a module's constant
        """The names of the events that the platform is known to send."""

    @property
    def SIGNATURE_HEADER(self) -> str:  # noqa: N802 - a module's constant
        """The header that proves who sent a delivery."""

    def request_headers(self, body: bytes, secret: str | None, name: str | None, now: float) -> Mapping[str, str]:
        """Write what a delivery's headers would be if the platform sent it now, under the id `name` if it gives any."""

    def verify(
        self,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        secrets: Sequence[str],
        tolerance: float,
        now: float,
    ) -> Verified | Rejected:
        """Judge a request; any one of the secrets will do. Never raises."""

    def delivery_id(self, headers: Sequence[tuple[str, str]]) -> str | None:
        """Return the platform's own id of a delivery, the same at every attempt, if it is usable."""

    def hint_of(self, tail: str) -> str | None:
        """Return the event that a URL was made for, given its last part, or None if there is no such URL."""

    def decode(self, body: bytes, hint: str | None) -> Event | Unknown | Malformed:
        """Say what a body announces. Never raises, whatever the bytes are."""
