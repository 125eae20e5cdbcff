"""Counterfactuals that somebody wrote: a table of pairs."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.data.files import open_table
from cod_cli.errors import CodError
from cod_cli.records import Shot

log = logging.getLogger(__name__)


class WrittenPairs:
    """Texts by (shot, label); several for one pair are candidates, of which the smallest edit that passes wins."""

    name = "file"
    prompts: Sequence[str | None] = (None,)
    max_attempts = 1

    def __init__(self, texts: dict[tuple[str, str], list[str]]) -> None:
        self._texts = texts

    def targets(self, shot: Shot) -> list[str]:
        """The labels that there are texts for, in the file's order."""
        return [label for shot_id, label in self._texts if shot_id == shot.id]

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        """One proposal for each request, in order."""
        for request in requests:
            yield Proposal(request, tuple(self._texts.get((request.shot.id, request.target), ())))


def open_pairs(path: Path, shots: Sequence[Shot], labels: Sequence[str]) -> WrittenPairs:
    """Read pairs from JSONL, CSV, TSV or parquet: columns ``id`` or ``source`` (a shot's), ``text``, ``label``.

    Rows whose shot was not drawn are counted and noted.

    Raises:
        CodError: a column is missing, a label is not the run's or the shot's own, or no row fits any shot.
    """
    rows = open_table(path)
    key = next((name for name in ("id", "source") if name in rows.columns), None)
    missing = [name for name in ("text", "label") if name not in rows.columns]
    if key is None or missing:
        raise CodError(
            f"{path} has the columns {', '.join(rows.columns)}", "a file of pairs has: id or source, text, label"
        )
    by_key = {shot.id if key == "id" else shot.text: shot for shot in shots}
    texts: dict[tuple[str, str], list[str]] = {}
    strangers = 0
    for number, row in rows.read([key, "text", "label"]):
        shot = by_key.get(str(row[key] or "").strip())
        if shot is None:
            strangers += 1
            continue
        label = _label(row["label"], shot, labels, f"{path}, line {number}")
        texts.setdefault((shot.id, label), []).append(str(row["text"] or "").strip())
    if not texts:
        raise CodError(f"no row of {path} belongs to a shot of this run", f"its {key!r} must be a shot's {key}")
    if strangers:
        log.info("%d rows of %s belong to no shot of this run", strangers, path)
    return WrittenPairs(texts)


def _label(value: Any, shot: Shot, labels: Sequence[str], where: str) -> str:
    label = str(value)
    if label not in labels:
        raise CodError(f"{where}: label {label!r} is none of the run's", f"use one of: {', '.join(labels)}")
    if label == shot.label:
        raise CodError(f"{where}: label {label!r} is the shot's own", "a counterfactual has another label")
    return label
