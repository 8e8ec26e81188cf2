"""The `SYNCD_SECTION__KEY` variables, which override what the config file says.

A variable is put in its place before anything is validated, so an override obeys the same rules as a line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from syncd.config.lines import Place
from syncd.config.section import keys
from syncd.config.tree import Config
from syncd.config.units import Notation

_PREFIX = "SYNCD_"


def override(data: dict[str, Any], environ: Mapping[str, str]) -> dict[Place, str]:
    """Put the values of SYNCD_SECTION__KEY variables into `data`; return which variable set which place."""
    fields = dict(keys(Config))
    variables: dict[Place, str] = {}
    for variable in sorted(name for name in environ if name.startswith(_PREFIX)):
        *above, name = place = tuple(variable.removeprefix(_PREFIX).lower().split("__"))
        if not above:
            continue  # such as SYNCD_CONFIG, which is no key
        table = data
        for part in above:
            if not isinstance(table.setdefault(part, {}), dict):
                table[part] = {}
            table = table[part]
        table[name] = _value(environ[variable], fields.get(place))
        variables[place] = variable
    return variables


def _value(text: str, field: FieldInfo | None) -> Any:
    """Read a variable as a TOML value if it is one, else as text.

    Numbers, switches and dates stay text where the key wants text: a secret may be all digits, a mode is `0644`.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    bare = field is not None and (
        field.annotation is bool or any(isinstance(mark, Notation) and not mark.textual for mark in field.metadata)
    )
    if parsed.keys() != {"value"} or not (bare or isinstance(parsed["value"], str | list | dict)):
        return text
    return parsed["value"]
