"""JSON file of a batching policy and the engine threads it was chosen with."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from fasdk.backends.specs import MOST_THREADS
from fasdk.batching.policy import BatchingPolicy
from fasdk.bounded_file import FileKind
from fasdk.errors import UsageError
from fasdk.json_model import read_json_model

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
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    chosen_for: str = ""

    @classmethod
    def load(cls, path: str | Path) -> PolicyFile:
        """Read a policy from its JSON file; `model_dump_json` writes one.

        Raises:
            UsageError: The file is unreadable or no JSON, or a field is absent, unknown or wrong.
        """
        return read_json_model(path, cls, FileKind.POLICY, UsageError)
