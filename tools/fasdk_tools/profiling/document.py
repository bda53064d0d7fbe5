"""Base of the parts of a profile's JSON documents."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Part of a document: it cannot be changed, and refuses a key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
