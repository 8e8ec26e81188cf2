"""What people are given to write a config with: the documented file and its JSON Schema."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema, NullableSchema, WithDefaultSchema

from syncd.config.section import Section
from syncd.config.tree import Config


def template() -> str:
    """Return the commented config that `init` writes: every key, with its default."""
    return Path(__file__).with_name("sync.toml").read_text("utf-8")


class _Toml(GenerateJsonSchema):
    """TOML has no null: what may be None in the tree is a key that may be left out."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """Say of each key what the docstring below it says."""
        described = super().model_schema(schema)
        for key, text in _docstrings(schema["cls"]).items():
            described["properties"][key]["description"] = text
        return described

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """Describe what is there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """Give defaults as people write them, and none where a key or a table may be absent."""
        if schema.get("default") in (None, {}):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _docstrings(section: type[Section]) -> dict[str, str]:
    """Read from the source what stands below each key. Pydantic could, but would at every start of anything."""
    found = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, Section):
            (table,) = ast.parse(dedent(inspect.getsource(kind))).body
            assert isinstance(table, ast.ClassDef)  # noqa: S101 - what else is the source of a class
            for key, below in pairwise(table.body):
                match key, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[name] = inspect.cleandoc(text)
    return {name: text for name, text in found.items() if name in section.model_fields}


def schema() -> dict[str, Any]:
    """Describe the config as a JSON Schema, in the notation of the file, for editors and linters."""
    return {"$schema": _Toml.schema_dialect, **Config.model_json_schema(schema_generator=_Toml)}
