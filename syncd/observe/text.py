"""How values read to people, on a terminal, a page or in a log line: sizes, spans, text from outside."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what a terminal could take for more than text: control, bidirectional, zero-width characters."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def size(count: int | None) -> str:
    """Write bytes in binary units, to one digit."""
    if count is None:
        return "unknown"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - what binary units are made of
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def span(seconds: float) -> str:
    """Write a time span in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def wrong(error: dict[str, object]) -> str:
    """Write the status' config error as `file:line: key: message`."""
    place = ":".join(str(error[part]) for part in ("file", "line") if error[part] is not None)
    return ": ".join(str(part) for part in (place, error["key"], error["message"]) if part)
