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
:root { color-scheme: light dark; --line: #8884; --dim: #888; --good: #2a8a4a; --bad: #c8372d; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem; margin: 0; }
dl div { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .7rem; }
dt { color: var(--dim); font-size: .85rem; } dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
th { color: var(--dim); font-weight: normal; }
"""


def render(status: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]]) -> str:
    """Draw the page from a status and the last deliveries."""
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
<p class="dim">version {_text(status["version"])}, since {_text(status["started_at"])}</p>
{_config(status["config"])}
<h2>Assets</h2>
{_tiles({**status["assets"], "waiting": status["queue"]["depth"], "oldest waits": _span(status["queue"])})}
<h2>Deliveries since the start</h2>
{_tiles(status["deliveries"])}
<h2>Free space</h2>
{_tiles({"mirror": size(status["disk"]["mirror_free"]), "journal": size(status["disk"]["journal_free"])})}
<h2>Failures</h2>
{_failures(status["failures"])}
<h2>Last deliveries</h2>
{_deliveries(deliveries)}
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
        f"in force since {_text(config['loaded_at'])}</p>"
    )
    if config["error"] is None:
        return loaded
    return f'{loaded}\n<p class="bad">The file on disk is not in force. {_text(wrong(config["error"]))}</p>'


def _span(queue: Mapping[str, Any]) -> str:
    return span(queue["oldest_seconds"]) if queue["depth"] else "none"


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    columns = ("id", "path", "reason", "attempts", "since", "next attempt")
    rows = (
        (row["id"], row["path"], row["reason"], row["attempts"], row["since"], row["next_attempt_at"] or "given up")
        for row in failures
    )
    return _table(columns, rows) if failures else '<p class="good">None.</p>'


def _deliveries(deliveries: Sequence[Mapping[str, Any]]) -> str:
    columns = ("received", "id", "source", "event", "outcome", "assets", "reason")
    rows = (
        (row["received_at"], row["id"], row["source"], row["event"], row["outcome"], len(row["assets"]), row["reason"])
        for row in deliveries
    )
    return _table(columns, rows) if deliveries else '<p class="dim">None yet.</p>'


def _tiles(numbers: Mapping[str, Any]) -> str:
    tiles = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in numbers.items())
    return f"<dl>{tiles}</dl>"


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"


def _text(value: object) -> str:
    return "" if value is None else escape(printable(str(value)))
