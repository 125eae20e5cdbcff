"""How good the editor's edits are, from run folders: flips, edit ratio, and how often another model agrees with labels.

python tests/bench/measure_edits.py RUN… [--encoder MODEL]

Runs of one source and one way of editing (`cod counterfact --edits`) share a line. The judge is a logistic regression
on the sentence vectors of MODEL (without it, on TF-IDF), trained on the split that the shots were drawn from, the texts
of these shots left out; its accuracy on the source's validation split stands beside it. Students' accuracy is that of
the runs that hold scores.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cod_cli.data.draw import shuffled
from cod_cli.data.heldout import rows_to_score, shots_source
from cod_cli.evaluation.baselines import sentence_vectors
from cod_cli.models.load import load_encoder
from cod_cli.records import Counterfactual
from cod_cli.store.run import Run

# More rows take long to embed.
TRAINED_ON, CHECKED_ON = 600, 200
Features = Callable[[Sequence[str]], Any]


@dataclass
class Judge:
    """What another model takes texts for; ``right`` is its accuracy on texts that it was not trained on."""

    features: Features
    model: LogisticRegression
    right: float

    def agrees(self, rows: Sequence[Counterfactual]) -> list[bool]:
        if not rows:
            return []
        said = self.model.predict(self.features([row.text for row in rows]))
        return [str(label) == row.label for label, row in zip(said, rows, strict=True)]


def train_judge(run: Run, encoder: str | None) -> Judge:
    labels, shots = run.shots.require().labels, {shot.text for shot in run.shots.read()}
    rows = [row for row in shots_source(run).rows if row.label in labels and row.text not in shots]
    rows = shuffled(rows, "judge")[:TRAINED_ON]
    features = features_of(encoder, [row.text for row in rows])
    model = LogisticRegression(C=10, max_iter=2000).fit(
        features([row.text for row in rows]), [row.label for row in rows]
    )
    _, held = rows_to_score(run, labels, split="validation")
    places = shuffled(range(len(held.texts)), "judge")[:CHECKED_ON]
    said = model.predict(features([held.texts[place] for place in places]))
    truth = [labels[(held.truth or ())[place]] for place in places]
    return Judge(features, model, float(np.mean(said == np.array(truth))))


def features_of(encoder: str | None, texts: Sequence[str]) -> Features:
    if encoder is None:
        tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts)
        return tfidf.transform  # type: ignore[no-any-return]
    loaded = load_encoder(encoder)
    return lambda some: sentence_vectors(loaded, some, max_length=128)


def measured(runs: Sequence[Run], judge: Judge) -> list[float | None]:
    """Means over runs, in %: flips, edit ratio, agreement on CFEs and on semifactuals, students' accuracy."""
    columns: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        counts, rows = run.counterfactuals.require().counts, run.counterfactuals.read()
        firsts = [row for row in rows if not row.is_further]
        columns["flips"].append(counts["accepted"] / max(1, counts["accepted"] + counts["not_flipped"]))
        columns["ratio"].append(float(np.mean([row.edit_ratio for row in firsts])))
        columns["cfes"] += judge.agrees(rows)
        columns["semifactuals"] += judge.agrees(run.semifactuals.peek())
        columns["students"] += [s.accuracy for s in run.scores.peek() if s.mix is not None and s.accuracy is not None]
    names = ("flips", "ratio", "cfes", "semifactuals", "students")
    return [100 * float(np.mean(columns[name])) if columns[name] else None for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--encoder")
    options = parser.parse_args()
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for folder in options.runs:
        run = Run(folder)
        recorded = run.counterfactuals.require().settings
        way = f"MLM, {recorded.get('edits')}" if recorded.get("editor_model") else recorded.get("edits", "any")
        groups[Path(str(run.shots.require().settings["data"])).name, way].append(run)
    judges: dict[str, Judge] = {}
    names = [
        "data",
        "edits",
        "runs",
        "flips %",
        "edit ratio %",
        "judge right %",
        "agrees on CFEs %",
        "on semifactuals %",
    ]
    print(f"| {' | '.join([*names, 'students %'])} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (data, way), runs in sorted(groups.items()):
        if data not in judges:
            judges[data] = train_judge(runs[0], options.encoder)
        flips, ratio, *rest = measured(runs, judges[data])
        cells = [flips, ratio, 100 * judges[data].right, *rest]
        shown = " | ".join("" if cell is None else f"{cell:.1f}" for cell in cells)
        print(f"| {data} | {way} | {len(runs)} | {shown} |")


if __name__ == "__main__":
    main()
