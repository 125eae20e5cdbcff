"""Real texts beside the shots: what the same teacher queries buy without counterfactuals."""

import random
from collections.abc import Sequence

from cod_cli.artifacts import Run
from cod_cli.data import Row, eval_splits, load_table
from cod_cli.errors import CodError
from cod_cli.records import Counterfactual
from cod_cli.sources import shots_source
from cod_cli.teachers import Teacher


def draw_pool(run: Run, n: int, seed: str) -> list[Row]:
    """At most n texts of the split that the shots were drawn from, in an order that the seed alone decides.

    Never a shot, nor a text that stands in the split that `cod eval` scores, nor one of a pair made by
    `cod counterfact --held-out`. Labels are not looked at. Those for a smaller n are a prefix of those for a larger.
    """
    table = shots_source(run)
    taken = {shot.text.strip() for shot in run.shots.read()} | _scored_texts(run, table.split)
    taken |= {row.text.strip() for held in run.held_out_runs() for row in held.shots.peek()}
    ids = {shot.id for shot in run.shots.read()}
    free = [row for row in table.rows if row.id not in ids and row.text not in taken]
    rng = random.Random(f"pool {seed}")
    keys = [rng.random() for _ in free]
    return [free[place] for place in sorted(range(len(free)), key=keys.__getitem__)[:n]]


def _scored_texts(run: Run, split: str) -> set[str]:
    """Texts that students are scored on; of a source with one split those are all others, which `cod eval` sees to."""
    data = str(run.shots.require().settings["data"])
    try:
        table = load_table(data, default_splits=eval_splits(data), require_labels=False)
    except CodError:
        return set()
    return set() if table.split == split else {row.text for row in table.rows}


def pool_rows(rows: Sequence[Row], labels: Sequence[str], teacher: Teacher, kind: str) -> list[Counterfactual]:
    """Records of real texts; the hard label is the class that the teacher chooses."""
    chosen = teacher.logits([row.text for row in rows]).argmax(axis=-1).tolist()
    return [_record(row, labels[place], kind) for row, place in zip(rows, chosen, strict=True)]


def _record(row: Row, label: str, kind: str) -> Counterfactual:
    return Counterfactual(
        id=row.id,
        shot_id=None,
        text=row.text,
        label=label,
        source_label=label,
        kind=kind,
        generator="pool",
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=0.0,
        n_edits=0,
        minimal=None,
        attempts=0,
    )
