"""How a command comes to talk with the platform's API: with the key and the proxy of the config.

The session brings the platform's own client, which takes its time to load, so it is loaded here
and not before. The key is handed on and never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from syncd.cli.show import complain
from syncd.config import Loaded
from syncd.errors import ConfigInvalid

if TYPE_CHECKING:
    from syncd.sources.abyssale_session import AbyssaleSession


def session(loaded: Loaded, who: str, *, tell: Callable[[str], None] = complain) -> AbyssaleSession:
    """Make ready to ask, in the name of the command `who`. Raises ConfigInvalid where there is no key.

    `tell` is told of waits.
    """
    source = loaded.config.sources.abyssale
    if source is None or source.api_key is None:
        message = f'is missing: {who} asks the platform\'s API; give it as in {{ env = "ABYSSALE_API_KEY" }}'
        raise ConfigInvalid([loaded.problem(("sources", "abyssale", "api_key"), message)])
    from syncd.sources.abyssale_session import AbyssaleSession  # noqa: PLC0415 - other commands do without its weight

    proxy = loaded.config.download.proxy
    return AbyssaleSession(source.api_key.text, tell=tell, proxy=proxy.text if proxy else None)
