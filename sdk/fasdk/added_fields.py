"""Fields that came after files had been written, and that a file leaves out at their default."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

# In the schema of a field that is left out at its default.
OMITTED_AT_DEFAULT = "omitted_at_default"


def added(default: Any, **bounds: Any) -> Any:
    """Return a field that is left out at its default.

    It came after files had been written. Those keep their bytes, and a release that does not know
    the field refuses the files that need it.
    """
    return Field(default=default, json_schema_extra={OMITTED_AT_DEFAULT: True}, **bounds)


class OmitsDefaults(BaseModel):
    """Model that leaves out its `added` fields where they have their default."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        for name, default in omitted_defaults(type(self)).items():
            if getattr(self, name) == default:
                written.pop(name, None)
        return written

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the fields; the serializer only leaves some out."""
        return handler(_without_serializer(core_schema))


def _without_serializer(schema: Any) -> Any:
    """Return a model's core schema, in whose wrappings the serializer may lie at any depth."""
    plain = {key: part for key, part in schema.items() if key != "serialization"}
    if "schema" in plain and plain.get("type") != "model-fields":
        plain["schema"] = _without_serializer(plain["schema"])
    return plain


@lru_cache
def omitted_defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return the default of every field that the model leaves out at it."""
    return {
        name: field.default
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and OMITTED_AT_DEFAULT in field.json_schema_extra
    }
