"""`cod report`: what the runs below a folder have reached, arm by arm, and what of it is more than luck."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cod_cli.errors import UsageError
from cod_cli.metrics import METRICS, classes_in, f1_of
from cod_cli.report.comparison import Cell, Comparison, Contrast, compare
from cod_cli.report.page.document import page
from cod_cli.report.page.picture import picture
from cod_cli.report.results import Evidence, read_evidence
from cod_cli.report.statistics import Interval
from cod_cli.report.verdicts import verdicts
from cod_cli.report.why.explain import OF_FAMILIES, QUANTITIES, Why, explain
from cod_cli.settings.report import ReportSettings
from cod_cli.store.jsonl import STDOUT, write_output
from cod_cli.ui import Ui


@dataclass(frozen=True)
class ReportResult:
    """What was found below a folder and how it compares; ``written`` are the files that were asked for.

    ``why`` is what `--why` measured, None without it.
    """

    evidence: Evidence
    comparison: Comparison
    written: tuple[Path, ...]
    why: Why | None = None

    @property
    def printed(self) -> bool:
        """Whether a document stands on standard output already, where nothing else may stand then."""
        return STDOUT in self.written

    @property
    def verdicts(self) -> list[str]:
        """What the comparison comes to, in sentences."""
        return verdicts(self.comparison, self.evidence.yardsticks)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: the rows of the table, the teacher's scores, every test."""
        comparison = self.comparison
        return {
            "folder": str(self.evidence.folder),
            "runs": len(self.evidence.runs),
            "metric": comparison.metric,
            "baseline": comparison.baseline,
            "contrasts_tested": comparison.n_tested,
            "notes": list(comparison.notes),
            "teachers": [result.score.model_dump() for result in self.evidence.teachers],
            "majorities": [score.model_dump() for score in self.evidence.majorities],
            "verdicts": self.verdicts,
            "arms": rows(comparison, self.why),
            "contrasts": [asdict(contrast) for contrast in comparison.contrasts],
            "written": [str(path) for path in self.written],
            **({"why": asdict(self.why)} if self.why else {}),
        }


def report(folder: Path, settings: ReportSettings, ui: Ui) -> ReportResult:
    """Read the scores of every run in ``folder`` or below it, compare the arms, write the files that are asked for.

    Raises:
        UsageError: a baseline that is not among the arms, or a folder where a file is to be written.
        CodError: no scores, a damaged file, or an arm that stands in two runs.
    """
    _check_outputs(settings, ui)
    evidence = read_evidence(folder)
    comparison = compare(evidence, metric=settings.metric, baseline=settings.baseline)
    why = _why(evidence, comparison, settings, ui) if settings.why else None
    written = []
    if settings.csv is not None:
        write_output(settings.csv, to_csv(rows(comparison, why)))
        written.append(settings.csv)
    if settings.html is not None:
        write_output(settings.html, page(evidence, comparison, why))
        written.append(settings.html)
    if settings.svg is not None:
        write_output(settings.svg, picture(comparison, evidence.yardsticks))
        written.append(settings.svg)
    for note in comparison.notes:
        ui.note(f"Note: {note}")
    return ReportResult(evidence, comparison, tuple(written), why)


def _check_outputs(settings: ReportSettings, ui: Ui) -> None:
    """Refuse a folder as a file, and two documents on standard output."""
    asked = {"--csv": settings.csv, "--html": settings.html, "--svg": settings.svg}
    outputs = {flag: path for flag, path in asked.items() if path is not None}
    for flag, path in outputs.items():
        if path.is_dir():
            raise UsageError(f"{flag} is {path}, a folder", f"name a file: {flag} {path / f'report.{flag[2:]}'}")
    printed = [f"{flag} -" for flag, path in outputs.items() if path == STDOUT] + (["--json"] if ui.as_json else [])
    if len(printed) > 1:
        raise UsageError(f"{' and '.join(printed)} would both be printed", "name a file for one of them")


def _why(evidence: Evidence, comparison: Comparison, settings: ReportSettings, ui: Ui) -> Why:
    # Here and not above: models are run for this alone, and a report without it is quick.
    from cod_cli.report.why.measure import measure, students_of

    students = students_of(evidence)
    with ui.progress("Measuring", total=sum(map(len, students.values()))) as advance:
        found = explain(comparison, measure(students, device=settings.device, progress=advance))
    for problem in found.problems:
        ui.warn(f"--why: {problem}")
    return found


def rows(comparison: Comparison, why: Why | None = None) -> list[dict[str, Any]]:
    """One flat row for each arm at each k, all with the same keys; shares in [0, 1], null where there is nothing."""
    contrasts = {(c.task, c.split, c.k, c.arm): c for c in comparison.contrasts}
    classes = dict.fromkeys(name for cell in comparison.cells for name in classes_in(cell.values))
    metrics = [*METRICS, *map(f1_of, classes)]
    return [
        _row(cell, metrics, contrasts.get((*cell.key, cell.arm))) | (_explained(cell, why) if why else {})
        for cell in comparison.cells
    ]


def _explained(cell: Cell, why: Why) -> dict[str, Any]:
    found = why.of(cell)
    measured: dict[str, Any] = {}
    for name in (*QUANTITIES, *OF_FAMILIES):
        here = found.get(name)
        measured |= {f"why_{name}": here.mean if here else None, f"why_{name}_std": here.std if here else None}
    return measured


def _row(cell: Cell, metrics: Sequence[str], contrast: Contrast | None) -> dict[str, Any]:
    found = cell.metrics()
    measured: dict[str, Any] = {}
    for name in metrics:
        here = found.get(name)
        measured |= {name: here.mean if here else None, f"{name}_std": here.std if here else None}
    return {
        "task": cell.task,
        "split": cell.split,
        "k": cell.k,
        "arm": cell.arm,
        "method": cell.method,
        "mix": cell.mix,
        "n": cell.n,
        "other_budget": cell.other_budget,
        "cut_from_teacher": cell.cut,
        **measured,
        **_tests(contrast),
        **{f"cost_{name}": value for name, value in asdict(cell.cost).items()},
    }


def _tests(contrast: Contrast | None) -> dict[str, Any]:
    found = contrast.difference if contrast else None
    interval, bootstrap = (found.interval, found.bootstrap) if found else (None, None)
    return {
        "against": contrast.against if contrast else None,
        "metric": contrast.metric if contrast else None,
        "pairs": found.n if found else None,
        "difference": found.mean if found else None,
        "difference_std": found.std if found else None,
        **_bounds("t", interval),
        "p": found.p if found else None,
        "p_holm": contrast.adjusted if contrast else None,
        "p_wilcoxon": found.wilcoxon if found else None,
        **_bounds("bootstrap", bootstrap),
        "p_mcnemar": contrast.rows.p if contrast and contrast.rows else None,
        "verdict": contrast.verdict if contrast else None,
    }


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval.low if interval else None, f"{name}_high": interval.high if interval else None}


def to_csv(table: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV with a header, empty where there is nothing; there is at least one row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
