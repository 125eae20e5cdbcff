"""What a record is."""

import hashlib
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


def text_sha(text: str) -> str:
    """The hash by which a soft label is tied to its text: 16 hex digits of SHA-256 over UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


class Record(BaseModel):
    """A frozen row of a JSONL file; a field that the record does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return self.model_copy(update=changes)


class SparseRecord(Record):
    """A record some of whose fields, ``WHERE_USED``, stand in a file only where they are not null."""

    WHERE_USED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        row: dict[str, Any] = handler(self)
        return {key: value for key, value in row.items() if value is not None or key not in self.WHERE_USED}
