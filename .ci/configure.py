"""Writes docs/configure.md out of the config's schema and the file that `init` writes: `make docs`.

Defaults, limits and meanings are those of the tree in syncd/config; what is said beside them is INTRODUCTION below.
`--check` writes nothing and fails where the page is not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syncd.config import schema, template

PAGE = Path(__file__).parent.parent / "docs" / "configure.md"

INTRODUCTION = """\
# The config

Written by `make docs` out of the schema. `syncd init` writes the file with every key, its default and what it does;
nothing has to be in yours but a secret. `syncd schema config` prints the JSON Schema, which an editor such as VS Code
with Even Better TOML takes from the first line of that file to complete and check keys as you type.

- **Where**: `--config PATH`, else `$SYNCD_CONFIG`, else `config/sync.toml`, else `/etc/syncd/sync.toml`.
- **When**: save it, and it is in force within a second. One with a mistake changes nothing, and `syncd check`,
  `syncd status`, the log and `syncd_config_last_reload_successful` say so. Only `mirror.root` and `journal.url` need
  a restart.
- **Durations** are `"250ms"`, `"10s"`, `"5m"`, `"24h"`, `"90d"`; **sizes** `"512KiB"`, `"1MiB"`, `"2GiB"`, `"0"`.
- **Secrets** are `{ env = "NAME" }`, `{ file = "path" }`, `{ credential = "name" }` (systemd), or a text, with a
  warning where others can read the file. Secret and TLS files are watched as the config is; an absent
  one makes it invalid.
- **Paths** are relative to the config's folder.
- **The environment overrides**: `SYNCD_SECTION__KEY=value`, with the value as in the file, text without its quotes.

```console
$ syncd check
... is valid
$ SYNCD_DOWNLOAD__CONCURENCY=8 syncd check
... download.concurency: is not a known key; the nearest is download.concurrency (from SYNCD_DOWNLOAD__CONCURENCY)
```
"""


def sections(node: dict[str, Any], whole: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each table of the config by its heading, with its schema, in the order of the tree."""
    if name and any(not is_table(one, whole) for one in node["properties"].values()):
        yield f"[{name}]", node
    for key, one in node.get("properties", {}).items():
        path = f"{name}.{key}".lstrip(".")
        if is_table(one, whole):
            yield from sections(resolved(one, whole), whole, path)
        elif one.get("type") == "array" and is_table(one["items"], whole):
            yield f"[[{path}]]", resolved(one["items"], whole)


def resolved(node: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        found = whole["$defs"][node["$ref"].rpartition("/")[2]]
        return {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def is_table(node: dict[str, Any], whole: dict[str, Any]) -> bool:
    return "properties" in resolved(node, whole)


def rows(node: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    for key, one in node["properties"].items():
        if is_table(one, whole) or (one.get("type") == "array" and is_table(one["items"], whole)):
            continue
        default = f"`{toml(one['default'])}`" if "default" in one else "none"
        meaning = " ".join(one.get("description", "").split()).replace("|", "\\|")
        yield f"| `{key}` | {default} | {allowed(one)} | {meaning} |"


def allowed(node: dict[str, Any]) -> str:
    """Say in a word or two what a key takes."""
    if "enum" in node:
        return ", ".join(f"`{toml(value)}`" for value in node["enum"])
    if "anyOf" in node:  # only secrets are so
        return "a secret, or a list of them" if any("items" in one for one in node["anyOf"]) else "a secret"
    if node["type"] == "string":
        pattern = node.get("pattern", "")
        form = "duration" if "|s|m|h" in pattern else "size" if "KiB" in pattern else "text"
        return f"{form}, {node['$comment']}" if "$comment" in node else form
    if node["type"] == "array":
        return f"a list of {allowed(node['items'])}"
    return f"{node['minimum']} to {node['maximum']}" if "minimum" in node else node["type"]


def toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def page() -> str:
    whole = schema()
    parts = [INTRODUCTION]
    for heading, node in sections(whole, whole):
        lines = [f"## {heading}", "", node.get("description", ""), ""]
        lines += ["| key | default | allowed | what |", "|---|---|---|---|", *rows(node, whole), ""]
        parts.append("\n".join(lines))
    parts.append("## The whole file\n\nAs `init` writes it.\n\n```toml\n" + template() + "```\n")
    return "\n".join(parts)


def main() -> int:
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.stderr.write(f"{PAGE} is not what the schema says: make docs\n")
            return 1
        return 0
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
