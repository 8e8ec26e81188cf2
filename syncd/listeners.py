"""The two listeners, public and admin: how each comes to its socket, and how another takes its place.

One that moves is open at its new address before the old one closes, and what waited at the
old one is answered. What is answered is decided by whoever serves it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Literal

from syncd.config import Address, Config, Loaded
from syncd.errors import ConfigInvalid
from syncd.web.listen import bind, release
from syncd.web.server import Listener, tls_context

log = logging.getLogger(__name__)

Name = Literal["server", "admin"]
"""A listener is called as its table in the config."""

Serve = Callable[[socket.socket], Listener]


class Listeners:
    """The listeners in force. `prepare` each config, `open` once, `close` at the end, the public one first.

    `serve` makes each listener from a socket; one that is not in it is not opened. A `passed`
    socket, from systemd, is the public one's whatever the config says.
    """

    def __init__(self, serve: dict[Name, Serve], *, passed: socket.socket | None) -> None:
        self._serve = serve
        self._passed = passed
        self._addresses: dict[Name, Address] = {}
        self._listeners: dict[Name, Listener] = {}
        self._services: asyncio.TaskGroup | None = None
        self._replaced: set[asyncio.Task[None]] = set()

    async def prepare(self, loaded: Loaded) -> Callable[[], None]:
        """Open the sockets that a config needs; the answer puts it to use. Raises ConfigInvalid."""
        config = loaded.config
        try:
            tls = tls_context(config.server.tls)
        except OSError as error:
            raise ConfigInvalid([loaded.problem(("server", "tls"), str(error))]) from error
        listen: dict[Name, Address] = {"server": config.server.listen, "admin": config.admin.listen}
        wanted = {name: listen[name] for name in self._serve}
        bound: dict[Name, socket.socket] = {}
        for name, address in wanted.items():
            if address == self._addresses.get(name) or (name == "server" and self._passed):
                continue
            try:
                bound[name] = await self._bind(address)
            except OSError as error:
                for opened in bound.values():
                    release(opened)
                raise ConfigInvalid([loaded.problem((name, "listen"), error.strerror or str(error))]) from error
        return lambda: self._put_to_use(config, wanted, bound, tls)

    def open(self, services: asyncio.TaskGroup) -> None:
        """Begin to accept. What is replaced from now on is drained by tasks of `services`."""
        self._services = services
        for listener in self._listeners.values():
            listener.open()

    @property
    def outlive(self) -> bool:
        """Tell if the public socket is systemd's: what comes once it is left alone waits for the next process."""
        return self._passed is not None

    def address(self, name: Name) -> Address:
        """Where one really listens: the port that was free if the config says 0, or systemd's socket."""
        where = self._listeners[name].sock.getsockname()
        return Address("", 0, where) if isinstance(where, str) else Address(where[0], where[1], "")

    async def close(self, name: Name, grace: float) -> None:
        """Answer what is there, within `grace` seconds, and close it. Cancellation cuts off the rest."""
        if name in self._listeners:
            await self._listeners[name].drain(grace)

    def close_replaced(self) -> None:
        """Cut off what is still being answered at former addresses."""
        for task in self._replaced:
            task.cancel()

    async def _bind(self, address: Address) -> socket.socket:
        ours = [listener.sock for listener in self._listeners.values()]
        return await asyncio.to_thread(bind, address, beside=ours)  # a host name may have to be looked up

    def _put_to_use(
        self,
        config: Config,
        addresses: dict[Name, Address],
        bound: dict[Name, socket.socket],
        tls: ssl.SSLContext | None,
    ) -> None:
        if self._passed and not self._listeners:
            bound["server"] = self._passed
        replaced = [self._listeners[name] for name in bound if name in self._listeners]
        self._addresses = addresses
        self._listeners |= {name: self._serve[name](opened) for name, opened in bound.items()}
        if "server" in self._listeners:
            self._listeners["server"].tls = tls
        if self._passed and config.server.listen != (real := self.address("server")):
            log.warning("server.listen is not used: systemd has passed a socket", extra={"listen": str(real)})
        if self._services is None:
            return
        for name in bound:
            self._listeners[name].open()
        for listener in replaced:
            task = self._services.create_task(listener.drain(config.server.request_timeout), name="drain")
            self._replaced.add(task)
            task.add_done_callback(self._replaced.discard)
