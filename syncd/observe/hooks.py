"""Hooks: what changed in the tree, as a signed request to a program (Standard Webhooks 1.0), or as an API's own.

The operator names where they go, so private addresses are fine; redirects are not followed. An
answer of 2xx is success, and nothing of its body is read. When it is tried again is `telling`'s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from syncd import __version__
from syncd.config.telling import Hook
from syncd.config.units import fill
from syncd.door import retry_after
from syncd.journal.happenings import Happening
from syncd.journal.outbox import Message
from syncd.mirror.session import load_aiohttp
from syncd.model import rfc3339
from syncd.observe.target import Setback, public

if TYPE_CHECKING:
    import aiohttp

TYPE = "tree.changed"
TIMEOUT = 15.0
"""Seconds of a whole request."""

_OK = range(200, 300)


@dataclass(frozen=True)
class HookTarget:
    """One hook. `public_url` is where the tree is served."""

    table: Hook
    public_url: str

    def compose(self, happened: Sequence[Happening]) -> tuple[str, str]:
        """The path of the first change, and the request's body."""
        changes = [self._change(happening) for happening in happened]
        at = rfc3339(time.time())
        if self.table.body is None:
            body = _json({"type": TYPE, "timestamp": at, "data": {"changes": changes}})
        else:
            paths = dict.fromkeys(change["path"] for change in changes if change["path"])
            urls = dict.fromkeys(change["url"] for change in changes if change["url"])
            values: dict[str, Any] = {
                "changes": changes, "paths": list(paths), "urls": list(urls), "timestamp": at,
                **{name: changes[0].get(name) for name in ("event", "path", "url", "sha256")},
                "location": _location(changes[0]["url"]),
            }  # fmt: skip
            body = fill(self.table.body, {name: _json(value) for name, value in values.items()})
        return _json({name: changes[0].get(name) for name in ("event", "path", "url", "sha256")}), body

    def _change(self, happening: Happening) -> dict[str, Any]:
        url = public(self.public_url, happening)
        known = {"event": happening.event, "path": None, "url": url, "subject": happening.subject}
        return {**known, **happening.detail, "at": rfc3339(happening.at)}

    async def send(self, message: Message) -> Setback | None:
        """Ask once, signed for this moment."""
        await load_aiohttp()
        import aiohttp  # noqa: PLC0415 - most daemons have no hooks
        from yarl import URL  # noqa: PLC0415 - same

        table = self.table
        body = message.body.encode()
        headers = {
            "User-Agent": f"syncd/{__version__}",
            "Content-Type": "application/json",
            **{name: value.text for name, value in table.headers.items()},
            **self._signed(message),
        }
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
                session.request(
                    table.method,
                    URL(self._url(message), encoded=True),
                    data=body or None,
                    headers=headers,
                    allow_redirects=False,
                    proxy=URL(table.proxy.text) if table.proxy else None,
                    timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                ) as answer,
            ):
                return _judged(answer)
        except TimeoutError:
            return Setback(f"no answer within {TIMEOUT:g}s")
        except aiohttp.ClientConnectorError as error:
            return Setback(f"no connection ({error.os_error.strerror or type(error.os_error).__name__})")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # their texts may hold the URL
            return Setback(f"a broken request ({type(error).__name__})")

    def _url(self, message: Message) -> str:
        """The URL with its fields; what they say of the only change is in the message's title."""
        change = orjson.loads(message.title)
        return fill(
            self.table.url.text,
            {
                "path": quote(change["path"] or ""),
                "url": quote(change["url"] or "", safe=""),
                "location": _location(change["url"]),
                "event": quote(change["event"], safe=""),
                "sha256": change["sha256"] or "",
            },
        )

    def _signed(self, message: Message) -> dict[str, str]:
        """The headers of Standard Webhooks: the id is the same over all attempts, the time is that of this one."""
        at = datetime.now(UTC)
        headers = {"webhook-id": message.id, "webhook-timestamp": str(int(at.timestamp()))}
        if self.table.secret:
            from standardwebhooks import Webhook  # noqa: PLC0415 - most installations do without its weight

            signatures = [Webhook(secret.text).sign(message.id, at, message.body) for secret in self.table.secret]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _judged(answer: aiohttp.ClientResponse) -> Setback | None:
    if answer.status in _OK:
        return None
    wishes = answer.headers.getall("Retry-After", [])
    after = retry_after(wishes[0].strip(), time.time()) if len(wishes) == 1 else None
    # 410 is how a receiver says that it wants no more of this; the config goes on naming it, so it is asked again
    # about what comes next, but this one is not repeated.
    return Setback(f"HTTP {answer.status}", after, final=answer.status == HTTPStatus.GONE)


def _location(url: str | None) -> str:
    return (url or "").partition("://")[2]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
