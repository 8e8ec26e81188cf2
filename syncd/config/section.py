"""How a table of the config is declared: frozen, strict, closed to unknown keys, defaults as people write them.

The tables themselves are in `tree`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

T = TypeVar("T")
Listing = Annotated[tuple[T, ...], Field(strict=False)]
"""A TOML array. Not strict, as TOML gives a list where the tree keeps a tuple; its items stay strict."""


def _fill(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise ValueError("must not be an empty list")
    return items


# Not pydantic's min_length: it counts only the valid items, and so calls a list with one bad item empty.
Filled = Annotated[tuple[T, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(_fill)]
"""A TOML array with something in it."""


def written(default: str | list[Any] | dict[str, Any]) -> Any:
    """Give a default in the notation of the config; it is parsed like any other text."""
    return default


class Section(BaseModel):
    """A table of the config: frozen, and closed to keys that nobody knows."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        defer_build=True,  # the whole tree is built in one go, when the first config is loaded, and not part by part
    )


def keys(section: type[Section], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Name every key that a config can have, tables included, in the order of the tree."""
    for name, info in section.model_fields.items():
        yield (*above, name), info
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from keys(kind, (*above, name))
