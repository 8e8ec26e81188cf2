"""Who answers what comes on a connection: the few steps that a listener's two sides have in common.

A connection decides when each is taken, a service what comes of it. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from syncd.web.answers import Answer, Refused, Word
from syncd.web.request import Head

Asked = TypeVar("Asked", bound=Head)


class Service(Protocol[Asked]):
    """Answers requests, each of them once: by `receive`, `refuse`, `never_whole` or `fail`."""

    def begin(self, version: str, method: bytes, target: bytes, headers: Sequence[tuple[str, str]], peer: str) -> Asked:
        """Take the headers of a request, from the address `peer`, empty for a unix socket. Raises Malformed."""

    def admit(self, request: Asked, /) -> int:
        """Check what can be told before the body comes, and return how many bytes that may have. Raises Refused."""

    def receive(self, request: Asked, body: bytes, answer: Callable[[Answer], None]) -> None:
        """Take an admitted request that is whole; `answer` is to be called once, now or later."""

    def refuse(self, request: Asked, refused: Refused, /) -> Answer:
        """Answer one that is not admitted, or too large or too late to become whole."""

    def never_whole(self, word: Word, peer: str, reason: str) -> Answer:
        """Answer what did not come as far as the end of its headers."""

    def fail(self, bug: BaseException) -> Answer:
        """Answer what broke on the way."""
