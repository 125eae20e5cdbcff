"""Held-out pairs, one member on each side of the teacher's boundary, and how often a student follows across it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cod_cli import metrics
from cod_cli.artifacts import Run
from cod_cli.heldout import HeldOut, Logits


@dataclass(frozen=True)
class Pairs:
    """Texts that flip the teacher, each made from one of the rows that are scored.

    ``sources`` holds the place of that row, ``generators`` who wrote the text.
    """

    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()
    generators: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """16 hex digits over all of it, None where there is no pair."""
        content = json.dumps([self.ids, self.texts, self.sources, self.generators])
        return hashlib.sha256(content.encode("utf-8")).hexdigest()[:16] if self.ids else None


def held_out_pairs(run: Run, rows: HeldOut, teacher: str | None) -> Pairs:
    """The pairs of `cod counterfact --held-out` whose real text is among ``rows``.

    Args:
        run: whose pairs.
        rows: what is scored; a pair whose text stands there otherwise, or not at all, is left out.
        teacher: fingerprint of the one who decides; pairs that were checked against another are left out.
    """
    places = {(row_id, text): place for place, (row_id, text) in enumerate(zip(rows.ids, rows.texts, strict=True))}
    found: list[tuple[str, str, int, str]] = []
    for held in run.held_out_runs():
        made = held.counterfactuals.manifest()
        if made is None or not made.complete or teacher is None or made.teacher != teacher:
            continue
        texts = {shot.id: shot.text for shot in held.shots.read()}
        suffix = held.counterfactuals.path.stem.removeprefix("5-")
        for row in held.counterfactuals.read():
            place = places.get((row.shot_id or "", texts.get(row.shot_id or "", "")))
            if place is not None:
                found.append((f"{row.id}@{suffix}", row.text, place, row.generator))
    return Pairs(*(tuple(column) for column in zip(*found, strict=True))) if found else Pairs()


def followed(pairs: Pairs, teacher: Logits, student: Logits) -> dict[str, Any]:
    """``boundary_agreement`` over all pairs and, by generator, ``boundary_by_generator``; empty without a pair.

    Args:
        pairs: n of them.
        teacher: logits of the scored rows and, behind them, of the n texts.
        student: likewise.
    """
    if not pairs.ids:
        return {}

    def share(chosen: Sequence[int]) -> float:
        rows = len(teacher) - len(pairs.ids)
        sides = [pairs.sources[i] for i in chosen], [rows + i for i in chosen]
        first, second = ((teacher[side], student[side]) for side in sides)
        return round(metrics.boundary_agreement((first[0], second[0]), (first[1], second[1])), 6)

    by_generator = {
        name: share([i for i, generator in enumerate(pairs.generators) if generator == name])
        for name in dict.fromkeys(pairs.generators)
    }
    return {"boundary_agreement": share(range(len(pairs.ids))), "boundary_by_generator": by_generator}
