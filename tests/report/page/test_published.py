"""The paper's figures: read off its tables."""

from pathlib import Path

import pytest

from cod_cli.report.comparison import compare
from cod_cli.report.page.markup import join
from cod_cli.report.page.published import paper_figures, published_figures
from cod_cli.report.results import read_evidence
from tests.report.evidence_of import scored_run
from tests.report.page.page_of import numbers, read_page


def test_all_cells_of_tables_1_2_5_and_6_are_there_once() -> None:
    tasks = ("sst2", "cola", "imdb", "yelp", "amazon", "sentiment140")
    found = [cell for task in tasks for cell in paper_figures(task, (8, 16, 32, 64, 128, 512))]
    assert len(found) == len({(c.teacher, c.student, c.task, c.method, c.mix, c.k) for c in found}) == 420
    assert {cell.table for cell in found} == {1, 2, 5, 6}
    assert all(0.4 < cell.accuracy < 1 and 0 < cell.std < 0.2 for cell in found)


@pytest.mark.parametrize(
    ("task", "student", "method", "mix", "k", "accuracy", "std"),
    [
        ("sst2", "deberta-v3-small", "kd", "shots", 8, 0.617, 0.042),
        ("sst2", "deberta-v3-small", "kd", "cod", 16, 0.781, 0.034),
        ("cola", "deberta-v3-small", "ted", "cod", 512, 0.791, 0.006),
        ("imdb", "deberta-v3-small", "lwd", "shots", 64, 0.889, 0.013),
        ("yelp", "deberta-v3-xsmall", "kd", "cod", 16, 0.758, 0.084),
        ("sentiment140", "Qwen2.5-0.5B", "lwd", "cod", 512, 0.805, 0.008),
        ("amazon", "Qwen2.5-0.5B", "kd", "shots", 32, 0.706, 0.083),
    ],
)
def test_a_cell_is_what_the_paper_prints(
    task: str, student: str, method: str, mix: str, k: int, accuracy: float, std: float
) -> None:
    (found,) = [c for c in paper_figures(task, [k]) if (c.student, c.method, c.mix) == (student, method, mix)]
    assert (found.accuracy, found.std) == (accuracy, std)


@pytest.mark.parametrize("task", ["sst2", "SST-2", "stanfordnlp/sst2", "nyu-mll/glue:sst2", "sst_2"])
def test_a_task_is_found_by_its_name_however_it_is_spelt(task: str) -> None:
    assert {cell.task for cell in paper_figures(task, [8])} == {"sst2"}


@pytest.mark.parametrize("task", ["sst5", "sst5-3", "my reviews", "sst2-clean", ""])
def test_a_task_that_the_paper_has_not_shows_nothing(task: str) -> None:
    assert paper_figures(task, [8]) == []


def test_only_the_k_of_the_report_are_shown_with_ones_own_above(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.6, 0.7)):
        run = {"kd-shots": accuracy, "kd-cod": accuracy + 0.1, "T-4-cod": 0.5}
        scored_run(tmp_path / f"s{seed}", run, seed=seed, k=16)
    shown = read_page(join(*published_figures(compare(read_evidence(tmp_path)))))
    table = shown.table()
    assert set(next(iter(table.values()))) == {"arm", "k = 16"}
    assert numbers(table["Here: kd-cod"]["k = 16"]) == pytest.approx([0.75, 0.0707], abs=1e-4)
    assert numbers(table["deberta-v3-base → deberta-v3-small: kd-cod"]["k = 16"]) == [0.781, 0.034]
    assert "Here: T-4-cod" not in table
    assert table["deberta-v3-base → deberta-v3-small: kd-cod"]["k = 16"].text == "78.1 ± 3.4"


def test_nothing_is_shown_for_a_k_that_the_paper_has_not(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": 0.6}, k=24)
    assert published_figures(compare(read_evidence(tmp_path))) == []
