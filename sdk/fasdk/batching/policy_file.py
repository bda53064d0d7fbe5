"""JSON file of a batching policy and the engine threads it was chosen with."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.batching.policy import BatchingPolicy
from fasdk.bounded_file import FileKind, read_bounded
from fasdk.errors import UsageError

SCHEMA_VERSION: Final = 1


class PolicyFile(BaseModel):
    """A batching policy as a file, such as policy.json, which `fasdk.open` and `fasdk run` take.

    Attributes:
        schema_version: Version of this layout.
        batching: Settings by which captures share the engine; what is left out has its default.
        threads: CPU threads of the engine it was chosen with; 0 for one per core.
        chosen_for: What it was chosen for, in words; empty where nobody said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    batching: BatchingPolicy
    threads: int = Field(default=0, ge=0)
    chosen_for: str = ""

    @classmethod
    def load(cls, path: str | Path) -> PolicyFile:
        """Read a policy from its JSON file; `model_dump_json` writes one.

        Raises:
            UsageError: The file is unreadable or no JSON, or a field is absent, unknown or wrong.
        """
        try:
            raw = read_bounded(path, FileKind.POLICY)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "batching policy"
            raise UsageError(f"{path}: {where}: {first['msg']}") from error
        except UsageError as error:  # a value that the policy itself refuses
            raise UsageError(f"{path}: {error}") from error
