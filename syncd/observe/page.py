"""The status page: one self-contained HTML document made from what `/api/status` says.

Pure text: no script, nothing from elsewhere, and every value escaped, as most of them were
written by somebody outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from syncd.observe.text import printable, size, span, wrong

SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_REFRESH = 5  # seconds

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #767676; --good: #1f7a3d; --bad: #c02b20; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --good: #5ec27f; --bad: #ff7b72; } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .2rem 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .4rem; margin: 0; }
dl div { border: 1px solid var(--line); border-radius: .3rem; padding: .2rem .5rem; }
dt { color: var(--dim); font-size: .8rem; } dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top;
  white-space: nowrap; }
th { color: var(--dim); font-weight: normal; }
.long { overflow-wrap: anywhere; white-space: normal; }
@media (max-width: 60rem) {
  thead { display: none; } tr { border-bottom: 1px solid var(--line); display: block; padding: .3rem 0; }
  td { border: 0; display: block; padding: 0; white-space: normal; overflow-wrap: anywhere; }
  td:empty { display: none; }
  td::before { color: var(--dim); content: attr(data-is) " "; }
}
"""
_MOST_FAILURES = 15
_LONG = ("id", "path", "reason")  # columns whose lines may be broken


def render(status: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]]) -> str:
    """Draw the page from a status and the last deliveries; what is wrong comes first."""
    files = {
        **status["assets"],
        "waiting": status["queue"]["depth"],
        "oldest waits": _span(status["queue"]),
        "free: mirror": size(status["disk"]["mirror_free"]),
        "free: journal": size(status["disk"]["journal_free"]),
    }
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{_REFRESH}">
<title>syncd: {"ready" if status["ready"] else "not ready"}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>syncd {_readiness(status)}</h1>
{_config(status["config"])}
{_failures(status["failures"])}
<h2>Files</h2>
{_tiles(files)}
<h2>Deliveries since the start</h2>
{_tiles(status["deliveries"])}
<h2>Last deliveries</h2>
{_deliveries(deliveries)}
<p class="dim">syncd {_text(status["version"])}, up since {_time(status["started_at"])}; all times are UTC</p>
</body>
</html>
"""


def _readiness(status: Mapping[str, Any]) -> str:
    reasons = _text("; ".join(status["reasons"]))
    if status["ready"]:
        waiting = f', but <span class="bad">deliveries wait: {reasons}</span>' if reasons else ""
        return f'<span class="good">is ready</span>{waiting}'
    return f'<span class="bad">is not ready: {reasons}</span>'


def _config(config: Mapping[str, Any]) -> str:
    loaded = (
        f'<p class="dim">config {_text(config["path"])}, generation {_text(config["generation"])}, '
        f"in force since {_time(config['loaded_at'])}</p>"
    )
    if config["error"] is None:
        return loaded
    return f'{loaded}\n<p class="bad">The file on disk is not in force. {_text(wrong(config["error"]))}</p>'


def _span(queue: Mapping[str, Any]) -> str:
    return span(queue["oldest_seconds"]) if queue["depth"] else "none"


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return '<p class="good">No file fails.</p>'
    columns = ("path", "reason", "attempts", "since", "next attempt", "id")
    rows = (
        (row["path"], row["reason"], row["attempts"], _time(row["since"]), _time(row["next_attempt_at"]) or "given up",
         row["id"])
        for row in failures[:_MOST_FAILURES]
    )  # fmt: skip
    more = f", the newest {_MOST_FAILURES}" if len(failures) > _MOST_FAILURES else ""
    return f'<h2 class="bad">Failures ({len(failures)}{more})</h2>\n{_table(columns, rows)}'


def _deliveries(deliveries: Sequence[Mapping[str, Any]]) -> str:
    columns = ("received", "outcome", "event", "assets", "source", "id", "reason")
    rows = (
        (_time(row["received_at"]), row["outcome"], row["event"], len(row["assets"]), row["source"], row["id"],
         row["reason"])
        for row in deliveries
    )  # fmt: skip
    return _table(columns, rows) if deliveries else '<p class="dim">None yet.</p>'


def _tiles(numbers: Mapping[str, Any]) -> str:
    tiles = "".join(_tile(name, value) for name, value in numbers.items())
    return f"<dl>{tiles}</dl>"


def _tile(name: str, value: object) -> str:
    tone = ' class="bad"' if name in ("failed", "quarantined") and value else ""
    return f"<div><dt>{_text(name)}</dt><dd{tone}>{_text(value)}</dd></div>"


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, columns, row))}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"


def _cell(column: str, value: object) -> str:
    tone = ' class="long"' if column in _LONG else ""
    return f'<td data-is="{_text(column)}"{tone}>{_text(value)}</td>'


def _time(rfc3339: str | None) -> str:
    """Write a time for people, to the second."""
    return "" if rfc3339 is None else _text(rfc3339.partition(".")[0].replace("T", " "))


def _text(value: object) -> str:
    return "" if value is None else escape(printable(str(value)))
