"""Charts over k where an arm cannot be drawn."""

from pathlib import Path

from cod_cli.report.comparison import compare
from cod_cli.report.page.document import page
from cod_cli.report.results import read_evidence
from tests.report.evidence_of import rescore, scored_run
from tests.report.page.page_of import Node, read_page

OVER_K = "Accuracy and agreement"
SIX = dict.fromkeys(("kd-shots", "kd-cod", "kd-eda", "kd-aeda", "kd-pool", "lwd-cod"), 0.6)


def shown(folder: Path) -> Node:
    evidence = read_evidence(folder)
    return read_page(page(evidence, compare(evidence)))


def test_a_prompt_without_shots_stands_in_the_tables_only(tmp_path: Path) -> None:
    for k in (8, 16):
        run = scored_run(tmp_path / f"k{k}", {"kd-shots": 0.5, "zero-shot": 0.8}, k=k)
        if k == 8:
            rescore(run, "zero-shot", k=0, rows=0, shots=0)
    root = shown(tmp_path)
    assert "k = 0: zero-shot" in root.section("Numbers").table()
    titles = [node.text for node in root.section(OVER_K).all("title")]
    assert "kd-shots, k = 8: 50.0" in titles
    assert not any("k = 0" in title for title in titles)


def test_a_task_whose_arms_are_none_of_those_that_stand_out_has_no_chart(tmp_path: Path) -> None:
    for k in (8, 16, 32):
        scored_run(tmp_path / f"k{k}", SIX, k=k)
    for k in (8, 16):
        scored_run(tmp_path / f"other-k{k}", {"another": 0.7}, k=k, task="cola")
    root = shown(tmp_path)
    assert [node.text for node in root.section(OVER_K).all("h3")] == ["sst2, validation"]
    assert [node.text for node in root.section("Numbers").all("h3")] == ["cola, validation", "sst2, validation"]


def test_a_metric_that_no_arm_that_stands_out_has_is_not_drawn(tmp_path: Path) -> None:
    for k in (8, 16):
        scored_run(tmp_path / f"k{k}", SIX, k=k, agreement=None, kl=None)
        scored_run(tmp_path / f"more-k{k}", {"another": 0.7}, k=k)
    assert [node.text for node in shown(tmp_path).section(OVER_K).all("figcaption")] == ["Accuracy, %"]
