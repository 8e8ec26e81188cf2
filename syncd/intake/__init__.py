"""The HTTP receiver: sockets, connections and what must hold before a delivery is stored.

A request is bounded, its sender checked, its signature verified, and it is handed to the
journal; the answer is 200 once the journal has it. What a delivery says is none of this room's
business.
"""

from __future__ import annotations

from syncd.intake.listen import bind, inherited
from syncd.intake.receive import Intake
from syncd.intake.server import Listener, tls_context

__all__ = ["Intake", "Listener", "bind", "inherited", "tls_context"]
