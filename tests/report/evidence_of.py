"""Runs that were scored, as they lie on disk: score files, manifests, `settings.yaml`; no texts, no weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cod_cli.records import Prediction, Score, Shot, SoftLabel, SweepPlan, text_sha
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import Run, SweepFolder, write_origin
from tests.records_of import counterfactual, made_student, score

LABELS = ["negative", "positive"]
ARMS = {"kd-shots": ("kd", "shots"), "kd-cod": ("kd", "cod"), "lwd-shots": ("lwd", "shots"), "lwd-cod": ("lwd", "cod")}


def scored_run(
    folder: Path, accuracies: Mapping[str, float | None], *, seed: int = 0, k: int = 16, **changes: Any
) -> Run:
    """A run whose students, named by arm, reached these accuracies; ``changes`` are fields of every score."""
    run = Run(folder)
    run.shots.finish(run.shots.begin({"data": "sst2", "shots": str(k), "seed": seed}, labels=LABELS, seed=seed), [])
    scores = [teacher(**{name: changes[name] for name in ("task", "split") if name in changes})]
    for arm, accuracy in accuracies.items():
        method, mix = ARMS.get(arm, ("kd", arm))
        fields = {"method": method, "mix": mix, "k": k, "rows": k, "shots": k if mix == "shots" else k // 2}
        scores.append(score(arm, seed, **{**fields, "accuracy": accuracy, **changes}))
    run.scores.finish(run.scores.begin({}, labels=LABELS), scores)
    return run


def teacher(**changes: Any) -> Score:
    lacks = ("method", "mix", "k", "rows", "shots", "steps", "agreement", "kl", "seconds")
    return score("teacher", None, **{**dict.fromkeys(lacks), "accuracy": 0.9, **changes})


def rescore(run: Run, name: str, **changes: Any) -> None:
    """Change one student's score."""
    scores = [s.replace(**changes) if s.student == name else s for s in run.scores.read()]
    run.scores.finish(run.scores.require(), scores)


def sweep_json(folder: Path, baseline: str, other: Sequence[str] = ()) -> None:
    arms = {name: {"other_budget": name in other} for name in [baseline, *other]}
    plan = SweepPlan(command="cod sweep grid.yaml", baseline=baseline, arms=arms, cells=[])
    SweepFolder(folder).write(plan)


def trained(run: Run, name: str, **made: Any) -> None:
    """The ``settings.yaml`` of a student whose weights were deleted."""
    settings = {"student": "org/small", "mix": "shots", "epochs": 40, "student_layers": 3}
    fields = {"k": 16, "rows": 16, "shots": 16, "steps": 80, "labels": LABELS, "settings": settings}
    run.student(name).mkdir(parents=True)
    write_origin(run.student(name), made_student(name, **fields | made), [])


def took(
    run: Run,
    mix: str = "counterfactuals",
    *,
    cost: float | None = None,
    usage: dict[str, int] | None = None,
    **counts: int,
) -> None:
    """What the texts of a mix took, in their manifest."""
    file = run.counterfactuals if mix == "counterfactuals" else run.rival(mix).rows
    file.finish(file.begin({}, labels=LABELS), [], counts=counts, usage=usage, cost=cost)


def predicted(run: Run, rows: Mapping[str, Sequence[int]], truth: Sequence[int], confidence: float = 0.8) -> None:
    """What students decided, row by row."""
    fields: dict[str, Any] = {"task": "sst2", "split": "validation", "rows": "d", "truth": list(truth)}
    write_records(
        run.predictions,
        [
            Prediction(student=name, decided=list(decided), confidence=[confidence] * len(truth), **fields)
            for name, decided in rows.items()
        ],
    )


def with_pairs(run: Run, pairs: Sequence[tuple[str, str]], *, task: str = "sst2", generator: str = "editor") -> None:
    """Shots with a counterfactual each, from negative to positive, and how sure the teacher is of both."""
    shots, cfes, soft = [], [], []
    for index, (source, target) in enumerate(pairs, start=1):
        shot = Shot(id=f"{task}/train/{index}", text=source, label="negative")
        cfe = counterfactual(shot.id, target, generator=generator)
        shots.append(shot)
        cfes.append(cfe)
        soft += [soft_label(shot.id, source, [2.0, 0.0]), soft_label(cfe.id, target, [0.0, 1.0])]
    made = run.shots.require()
    run.shots.finish(made, shots)
    run.counterfactuals.finish(run.counterfactuals.begin({"generator": generator}, labels=LABELS), cfes)
    run.soft_labels.finish(run.soft_labels.begin({"teacher": "t"}, labels=LABELS), soft)


def soft_label(row_id: str, text: str, logits: list[float]) -> SoftLabel:
    return SoftLabel(id=row_id, text_sha=text_sha(text), logits=logits, teacher="t", source="logits", covered_mass=1.0)
