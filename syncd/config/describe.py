"""What people are given to write a config with: the documented file and its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import NullableSchema, WithDefaultSchema

from syncd.config.tree import Config


def template() -> str:
    """Return the commented config that `init` writes: every key, with its default."""
    return Path(__file__).with_name("sync.toml").read_text("utf-8")


class _Toml(GenerateJsonSchema):
    """TOML has no null: what may be None in the tree is a key that may be left out."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """Describe what is there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """Give defaults as people write them, and none where a key or a table may be absent."""
        if schema.get("default") in (None, {}):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def schema() -> dict[str, Any]:
    """Describe the config as a JSON Schema, in the notation of the file, for editors and linters."""
    return {"$schema": _Toml.schema_dialect, **Config.model_json_schema(schema_generator=_Toml)}
