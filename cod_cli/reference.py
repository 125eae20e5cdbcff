"""The teacher on held-out rows: its answers, asked for once, that students are compared with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cod_cli.artifacts import Run
from cod_cli.boundary import Pairs, held_out_pairs
from cod_cli.data import local_path
from cod_cli.errors import CodError
from cod_cli.heldout import HeldOut, Logits
from cod_cli.records import Manifest, SoftLabel, text_sha
from cod_cli.report import Ui
from cod_cli.scaling import scaled
from cod_cli.settings import EvalSettings, LabelSettings
from cod_cli.teachers import load_teacher


@dataclass(frozen=True)
class Reference:
    """The teacher's logits for the held-out rows, calibrated as file 3 is, in the run's order of classes.

    ``all_logits`` has behind them those of the texts of ``pairs``.
    """

    name: str
    fingerprint: str
    all_logits: Logits
    pairs: Pairs

    @property
    def logits(self) -> Logits:
        """Those for the held-out rows."""
        return self.all_logits[: len(self.all_logits) - len(self.pairs.ids)]


def reference(
    run: Run, data: str, rows: HeldOut, labels: Sequence[str], settings: EvalSettings, ui: Ui
) -> Reference | None:
    """The teacher that labelled file 3, asked for the rows that ``5-teacher.jsonl`` lacks; None where it is gone."""
    made = run.soft_labels.manifest()
    if made is None or made.teacher is None or not made.settings.get("teacher"):
        ui.warn(f"{run.soft_labels.meta} names no teacher: no agreement and no KL")
        return None
    known = _known(run, made, labels)
    pairs = held_out_pairs(run, rows, made.teacher)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    missing = {i: text for i, text in texts.items() if i not in known or known[i].text_sha != text_sha(text)}
    if missing:
        try:
            known |= _ask_teacher(made, labels, missing, settings, ui)
        except CodError as error:
            ui.warn(f"no agreement and no KL, for lack of the teacher: {error.message}")
            return None
        manifest = run.teacher_labels.begin(_asked(made), labels=list(labels), teacher=made.teacher)
        run.teacher_labels.finish(manifest, known.values(), counts={"rows": len(known)})
    raw = np.array([known[i].logits for i in texts], dtype=np.float32)
    calibration = made.calibration
    if calibration is None:
        return Reference(made.settings["teacher"], made.teacher, raw, pairs)
    if (calibration.data, calibration.split) == (str(local_path(data) or data), rows.split):
        ui.warn("the teacher was calibrated on these very rows: its ECE, Brier and KL flatter it")
    # Other values, other digits: KL is to the teacher as it is calibrated now.
    fitted = json.dumps([calibration.temperature, calibration.bias])
    logits = scaled(raw, labels, calibration).astype(np.float32)
    return Reference(made.settings["teacher"], made.teacher + fitted, logits, pairs)


def _asked(made: Manifest) -> dict[str, Any]:
    """How `cod label` called the teacher: what its answers depend on."""
    return {name: made.settings[name] for name in ("teacher", "teacher_labels", "max_length")}


def _known(run: Run, made: Manifest, labels: Sequence[str]) -> dict[str, SoftLabel]:
    """The teacher's answers to held-out rows so far, by id; those of another teacher are archived."""
    old = run.teacher_labels.manifest()
    if old is not None and (old.teacher, old.settings, old.labels) != (made.teacher, _asked(made), list(labels)):
        run.archive(run.teacher_labels.path, run.teacher_labels.meta)
    return {row.id: row for row in run.teacher_labels.peek()}


def _ask_teacher(
    made: Manifest, labels: Sequence[str], texts: Mapping[str, str], settings: EvalSettings, ui: Ui
) -> dict[str, SoftLabel]:
    asked = LabelSettings(**_asked(made), device=settings.device, cache=settings.cache)
    teacher = load_teacher(asked, labels, batch_size=settings.batch_size)
    if teacher.fingerprint != made.teacher:
        raise CodError(f"{teacher.name} has changed since it labelled the shots")
    with ui.progress("Asking the teacher", total=len(texts)) as advance:
        logits = teacher.logits(list(texts.values()), progress=advance)
    return {
        row_id: SoftLabel(
            id=row_id,
            text_sha=text_sha(text),
            logits=[round(value, 6) for value in row.tolist()],
            teacher=teacher.fingerprint,
            source=teacher.source,
            covered_mass=1.0,
        )
        for (row_id, text), row in zip(texts.items(), logits, strict=True)
    }
