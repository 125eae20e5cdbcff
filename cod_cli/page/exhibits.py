"""What a page shows beside scores: the pairs, how good they are, how sure the teacher is of what it labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cod_cli.artifacts import Run
from cod_cli.comparison import Cell
from cod_cli.evidence import Evidence
from cod_cli.metrics import Bin, binned, softmax
from cod_cli.quality import QualityReport, Work, report, with_sources
from cod_cli.records import Counterfactual, Prediction, Shot


@dataclass(frozen=True)
class Exhibit:
    """The texts of one task, each once, whatever runs they stand in.

    ``pairs`` are CFEs with the text that each was made from; ``quality`` is null where none was asked for; ``margins``
    holds, for ``shots`` and ``counterfactuals``, the teacher's P(its choice) - P(its second choice) on each.
    """

    task: str
    pairs: tuple[tuple[Counterfactual, str], ...]
    quality: QualityReport | None
    margins: Mapping[str, Sequence[float]]


def exhibits(evidence: Evidence) -> list[Exhibit]:
    """The texts of each task that still has some."""
    tasks: dict[Run, str] = {}
    for result in evidence.results:
        # Students may be scored on other tasks too: the texts are of the first.
        tasks.setdefault(result.run, result.score.task)
    runs: dict[str, list[Run]] = {}
    for run, task in tasks.items():
        runs.setdefault(task, []).append(run)
    found = [_exhibit(task, of) for task, of in runs.items()]
    return [exhibit for exhibit in found if exhibit.pairs or exhibit.margins]


def _exhibit(task: str, runs: Sequence[Run]) -> Exhibit:
    shots = {shot.id: shot for run in runs for shot in run.shots.peek()}
    cfes = {(cfe.id, cfe.text): cfe for run in runs for cfe in run.counterfactuals.peek()}
    attempts = {(a.shot_id, a.target, a.n, a.text): a for run in runs for a in run.read_attempts()}
    replies = {(reply.key, reply.sample, reply.text): reply for run in runs for reply in run.read_replies()}
    work = Work(list(shots.values()), list(cfes.values()), list(attempts.values()), list(replies.values()))
    return Exhibit(
        task=task,
        pairs=tuple(with_sources(work.shots, work.cfes)),
        quality=report(work) if work.cfes or work.attempts else None,
        margins=_margins(runs, shots, work.cfes),
    )


def _margins(runs: Sequence[Run], shots: Mapping[str, Shot], cfes: Iterable[Counterfactual]) -> dict[str, list[float]]:
    logits = {soft.id: soft.logits for run in runs for soft in run.soft_labels.peek()}
    ids = {"shots": set(shots), "counterfactuals": {cfe.id for cfe in cfes}}
    found = {name: [margin(logits[i]) for i in sorted(of & logits.keys())] for name, of in ids.items()}
    return {name: values for name, values in found.items() if values}


def margin(logits: Sequence[float]) -> float:
    """P(first choice) - P(second choice), in [0, 1]: 0 on the boundary."""
    second, first = np.sort(softmax(logits))[-2:]
    return float(first - second)


def curve(predictions: Iterable[Prediction | None]) -> list[Bin] | None:
    """The reliability of some students, their rows pooled; None where nobody kept what they decided, or no label."""
    kept = [row for row in predictions if row is not None and row.truth is not None]
    if not kept:
        return None
    confidence = np.concatenate([row.confidence for row in kept])
    right = np.concatenate([np.equal(row.decided, row.truth or []) for row in kept])
    return binned(confidence, right)


def curve_of(cell: Cell) -> list[Bin] | None:
    """The reliability of an arm's students together."""
    return curve(result.prediction for result in cell.results)
