"""Rivals: what else the same budget could buy. Who writes each kind, what its rows must pass, how they are called.

Real texts (`pool_rows`) and random edits (`random_edits`) stand beside the shots, as the teacher reads them; all others
are made from a shot, as counterfactuals are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cod_cli.counterfactuals.contrast import near_key
from cod_cli.counterfactuals.edits import edit_ratio, n_edits, words
from cod_cli.counterfactuals.generators.augment import exchanged, open_augmenter
from cod_cli.counterfactuals.generators.base import Generator
from cod_cli.counterfactuals.generators.editor import Choice, Wording, open_editor
from cod_cli.counterfactuals.generators.file import open_pairs
from cod_cli.counterfactuals.generators.replay import Replay
from cod_cli.counterfactuals.ledger import Ledger
from cod_cli.counterfactuals.verify import Candidate, Verdict, Verifier, assign_targets, read_by
from cod_cli.data.draw import Draws
from cod_cli.data.heldout import columns_in_texts, editor_texts, training_texts
from cod_cli.data.source import Row
from cod_cli.metrics import softmax
from cod_cli.mixes import RIVALS, select
from cod_cli.records import Counterfactual, Shot
from cod_cli.store.run import CounterfactualFiles, Run
from cod_cli.teachers.base import Logits, Teacher
from cod_cli.teachers.local import WhiteBoxTeacher

# A variant of CoD keeps the CFEs' gate on edits; a text of its own may differ as it likes.
CFE_EDIT_RATIO = 0.5
# Draws for each random edit that is wanted, before a shot does with fewer.
TRIES = 10
AUGMENTED = ("eda", "aeda")
_KEEP_THE_CLASS = (*AUGMENTED, "paraphrase")
_CHOICES: Mapping[str, Choice] = {"cod-nearest": "nearest", "cod-confident": "confident"}


@dataclass(frozen=True)
class Material:
    """What the rivals of a run are made from: its shots, their teacher, and the options that made its CFEs."""

    run: Run
    shots: list[Shot]
    labels: list[str]
    teacher: WhiteBoxTeacher
    recorded: Mapping[str, Any]

    @property
    def seed(self) -> str:
        """What the draw of the shots hangs on: other shots, other rivals."""
        return f"{self.run.shots.require().seed}"


def open_ledger(
    kind: str, files: CounterfactualFiles, material: Material, target: str, generators: Sequence[Generator]
) -> "RivalLedger":
    """The ledger of a kind that is made from shots: each is asked for in its own class, or in ``target``.

    Args:
        kind: which rival.
        files: where it is kept.
        material: what it is made from.
        target: balanced, nearest, all or a label, for kinds that change the class.
        generators: who writes, in order.
    """
    labels = material.labels
    read = read_by(material.teacher, [] if kind in AUGMENTED else material.shots, labels)
    if kind in _KEEP_THE_CLASS:
        wanted = [(shot, [shot.label]) for shot in material.shots]
    else:
        wanted = list(zip(material.shots, assign_targets(material.shots, labels, read.logits, target), strict=True))
    # Whoever does not ask the teacher does not know that it is wrong about a shot.
    return RivalLedger(kind, files, wanted, read.chosen if RIVALS[kind].flips else {}, generators)


class RivalLedger(Ledger):
    """A ledger whose rows are called after their rival."""

    def __init__(
        self,
        kind: str,
        files: CounterfactualFiles,
        wanted: Sequence[tuple[Shot, Sequence[str]]],
        chosen: Mapping[str, str],
        generators: Sequence[Generator],
    ) -> None:
        super().__init__(files, wanted, chosen, generators)
        self.kind = kind
        if kind == "cod-unverified":  # nobody checks it: it may hold copies of its shots
            self._texts.clear()

    def counterfactuals(self) -> list[Counterfactual]:
        """The accepted rows in shot order."""
        rows = super().counterfactuals()
        return [row.replace(id=f"{row.shot_id}~{row.label}@{self.kind}", kind=self.kind) for row in rows]


class SameClass(Verifier):
    """Accepts what the teacher reads as it reads the shot: other words for the same."""

    def ask_teacher(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """``accepted`` where the class stays, else ``no-flip``."""
        if self.teacher is None:
            return super().ask_teacher(candidates)
        families = [c.shot.id for c in candidates]
        before = self.teacher.logits([c.shot.text for c in candidates], families=families)
        after = self.teacher.logits([c.text for c in candidates], families=families)
        return [self._kept(*row) for row in zip(candidates, before, after, strict=True)]

    def _kept(self, candidate: Candidate, before: Logits, after: Logits) -> Verdict:
        target = self.index_of(candidate)
        read, was = (self.labels[int(row.argmax())] for row in (after, before))
        return Verdict(
            candidate,
            candidate.text,
            "accepted" if read == was else "no-flip",
            None if read == was else f"the teacher reads it as {read}, and the text before as {was}",
            flipped=False,
            p_before=round(float(softmax(before)[target]), 6),
            p_after=round(float(softmax(after)[target]), 6),
        )


class Unchecked(Verifier):
    """Accepts whatever is a text."""

    def judge(self, candidates: Sequence[Candidate], taken: set[str]) -> list[Verdict]:
        """``accepted`` for each candidate."""
        return [Verdict(candidate, candidate.text, "accepted") for candidate in candidates]


def verifier_of(kind: str, material: Material) -> Verifier:
    """What the texts of a kind must pass."""
    teacher, labels = material.teacher, material.labels
    if kind == "cod-unverified":
        return Unchecked(None, labels, max_edit_ratio=1.0)
    if kind == "paraphrase":
        return SameClass(teacher, labels, max_edit_ratio=1.0)
    ratio = material.recorded.get("max_edit_ratio", CFE_EDIT_RATIO) if kind.startswith("cod-") else 1.0
    return Verifier(teacher if RIVALS[kind].flips else None, labels, max_edit_ratio=ratio, revert=False)


def writers_of(kind: str, material: Material, seed: int) -> list[Generator]:
    """Who writes a kind that no LLM is asked for anew, in order; ``seed`` is that of augmentation.

    Raises:
        CodError: the CFEs that it is a variant of are not there.
    """
    if kind in AUGMENTED:
        texts = training_texts(material.run) if kind == "eda" else []
        return [open_augmenter(kind, material.teacher, texts, f"{material.seed} {seed}")]
    if kind in _CHOICES:
        return [_editor(material, _CHOICES[kind])]
    return _writers_again(material, first=kind == "cod-unverified")


def _writers_again(material: Material, *, first: bool) -> list[Generator]:
    """Whoever wrote the CFEs, once more: with all attempts, or with the first alone."""
    run, made_by = material.run, material.recorded
    run.counterfactuals.require()
    if made_by.get("generator") == "editor":
        return [_editor(material, "first" if first else "smallest")]
    if made_by.get("generator") == "file" and made_by.get("from_file"):
        return [open_pairs(Path(made_by["from_file"]), material.shots, material.labels)]
    replies = Replay(run.cfe_files.read_replies(), max_attempts=1 if first else None)
    return [replies, _editor(material, "smallest")] if made_by.get("fallback") and not first else [replies]


def _editor(material: Material, choice: Choice) -> Generator:
    wording = Wording.of(material.recorded)
    return open_editor(material.teacher, editor_texts(material.run, wording.words), choice, wording=wording)


def pool_rows(rows: Sequence[Row], labels: Sequence[str], teacher: Teacher, kind: str) -> list[Counterfactual]:
    """Records of real texts; the hard label is the class that the teacher chooses."""
    chosen = teacher.logits([row.text for row in rows]).argmax(axis=-1).tolist()
    return [_record(row, labels[place], kind) for row, place in zip(rows, chosen, strict=True)]


def random_edits(material: Material, seed: int, kind: str) -> list[Counterfactual]:
    """As many random edits of each shot as its contrast set has rows beside it; the teacher says of which class.

    Fewer where its words run out; no text stands in the run twice, not even in other capitals or marks.
    """
    run, labels = material.run, material.labels
    vocabulary = sorted({word.lower() for text in training_texts(run) or _texts(material) for word in words(text)})
    made: list[tuple[Shot, list[str]]] = []
    taken = {near_key(text) for text in _texts(material)}
    for shot, wanted in zip(material.shots, contrast_sizes(material), strict=True):
        rng = Draws(f"{kind} {material.seed} {seed} {shot.id}")
        made.append((shot, _different(shot.text, wanted, taken, vocabulary, rng, columns_in_texts(run))))
    texts = [text for _, edits in made for text in edits]
    logits = iter(material.teacher.logits(texts)) if texts else iter(())
    return [
        _edit(shot, n, text, labels[int(next(logits).argmax())], kind)
        for shot, edits in made
        for n, text in enumerate(edits, 1)
    ]


def _texts(material: Material) -> list[str]:
    return [shot.text for shot in material.shots]


def contrast_sizes(material: Material) -> list[int]:
    """How many rows beside the shot each one's contrast set has."""
    edits = [*material.run.counterfactuals.read(), *material.run.semifactuals.peek()]
    beside = Counter(
        row.shot_id
        for group in select("contrast", material.shots, edits)
        for row in group
        if isinstance(row, Counterfactual)
    )
    return [beside[shot.id] for shot in material.shots]


def _different(
    text: str, n: int, taken: set[tuple[str, ...]], vocabulary: Sequence[str], rng: Draws, columns: Sequence[str]
) -> list[str]:
    """Up to n edits that are none of those taken, which they are added to."""
    found: list[str] = []
    for _ in range(TRIES * n):
        if len(found) == n:
            break
        edit = exchanged(text, vocabulary, rng, columns)
        if near_key(edit) not in taken:
            taken.add(near_key(edit))
            found.append(edit)
    return found


def _edit(shot: Shot, n: int, text: str, label: str, kind: str) -> Counterfactual:
    return Counterfactual(
        id=f"{shot.id}~{label}@{kind}" + (f"~{n}" if n > 1 else ""),
        shot_id=shot.id,
        text=text,
        label=label,
        source_label=shot.label,
        kind=kind,
        generator=kind,
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=round(edit_ratio(shot.text, text), 4),
        n_edits=n_edits(shot.text, text),
        minimal=None,
        attempts=1,
    )


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
