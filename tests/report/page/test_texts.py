"""The pairs on the page: what changed is marked, every word is there, and how good they are."""

from pathlib import Path

import numpy as np
import pytest

from cod_cli.records import Reply
from cod_cli.report.page.markup import join
from cod_cli.report.page.pairs import Exhibit, exhibits, margin, mark, pairs, quality
from cod_cli.report.results import read_evidence
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import Run
from tests.records_of import counterfactual
from tests.report.evidence_of import scored_run, soft_label, with_pairs
from tests.report.page.page_of import Node, numbers, read_page

PAIRS = [
    ("a dull film", "a fine film"),
    ("dull", "not dull at all"),
    ("dramatically lackluster", "remarkable desire"),
    ("it is not bad", "it is bad"),
    ("bad from the start", "good from the end"),
    ("the same", "the same"),
    ("لا أحب هذا", "أحب هذا كثيرا"),
    ("不好看", "很好看"),
    ('<b>bad</b> & "worse"', '<b>good</b> & "better"'),
    ("first line\nbad", "first line\ngood"),
]


def shown(source: str, target: str) -> Node:
    return read_page(join(*mark(source, target)))


def without(node: Node, tag: str) -> str:
    return "".join(
        child if isinstance(child, str) else without(child, tag)
        for child in node.children
        if isinstance(child, str) or child.tag != tag
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_without_what_was_taken_out_the_target_is_left_and_the_other_way_round(source: str, target: str) -> None:
    both = shown(source, target)
    assert without(both, "del").split() == target.split()
    assert without(both, "ins").split() == source.split()


def test_only_the_changed_words_are_marked() -> None:
    both = shown("a dull film", "a fine film")
    assert ([node.text for node in both.all("del")], [node.text for node in both.all("ins")]) == (["dull"], ["fine"])


def test_lines_stay_lines() -> None:
    assert "\n" in shown("first line\nbad", "first line\ngood").text


@pytest.mark.parametrize(("flipped", "said"), [(True, False), (None, False), (False, True)])
def test_a_pair_that_does_not_flip_the_teacher_says_so(flipped: bool | None, said: bool) -> None:
    cfe = counterfactual("sst2/train/1", "a fine film", flipped=flipped)
    shown = pairs([Exhibit("sst2", ((cfe, "a dull film"),), None, {})])
    assert ("does not flip the teacher" in read_page(join(*shown)).text) is said


def test_a_margin_is_that_of_the_two_likeliest_classes() -> None:
    assert margin(np.log([0.1, 0.6, 0.3]).tolist()) == pytest.approx(0.3)


def run_with(folder: Path, *, flipped: bool | None, logits: list[float], price: tuple[float, float]) -> Run:
    run = scored_run(folder, {"kd-cod": 0.5}, k=8)
    with_pairs(run, [("a dull film", "a fine film")])
    shot, (cfe,) = run.shots.read()[0], run.counterfactuals.read()
    made = run.counterfactuals.require().replace(price=price)
    run.counterfactuals.finish(made, [cfe.replace(flipped=flipped)])
    softs = [soft_label(shot.id, shot.text, [2.0, 0.0]), soft_label(cfe.id, cfe.text, logits)]
    run.soft_labels.finish(run.soft_labels.require(), softs)
    fields = {"shot_id": shot.id, "target": "positive", "sample": 0, "finish_reason": "stop", "model": "m"}
    reply = Reply(key="a", text="{}", usage={"prompt_tokens": 900, "completion_tokens": 100}, latency_s=1.0, **fields)
    write_records(run.cfe_files.replies, [reply])
    return run


def quality_of(folder: Path) -> dict[str, dict[str, Node]]:
    return read_page(join(*quality(exhibits(read_evidence(folder))))).table()


@pytest.mark.parametrize(("logits", "flips"), [([0.0, 1.0], "100.0"), ([1.0, 0.0], "0.0")])
def test_flips_that_nobody_has_checked_follow_from_file_3(tmp_path: Path, logits: list[float], flips: str) -> None:
    run_with(tmp_path, flipped=None, logits=logits, price=(1.0, 2.0))
    (exhibit,) = exhibits(read_evidence(tmp_path))
    assert exhibit.pairs[0][0].flipped is (flips == "100.0")
    assert quality_of(tmp_path)["flips in the end %"]["sst2"].text == flips


def test_the_cost_per_cfe_is_by_the_price_that_was_paid(tmp_path: Path) -> None:
    run_with(tmp_path, flipped=True, logits=[0.0, 1.0], price=(1.0, 2.0))
    assert numbers(quality_of(tmp_path)["cost per CFE"]["sst2"]) == pytest.approx([0.0011])


def test_replies_at_several_prices_have_no_one_cost(tmp_path: Path) -> None:
    run_with(tmp_path / "a", flipped=True, logits=[0.0, 1.0], price=(1.0, 2.0))
    run_with(tmp_path / "b", flipped=True, logits=[0.0, 1.0], price=(3.0, 2.0))
    assert "cost per CFE" not in quality_of(tmp_path)


@pytest.mark.parametrize("made", [True, False])
def test_what_a_semifactual_is_for_is_told_where_there_are_some(tmp_path: Path, made: bool) -> None:
    run = run_with(tmp_path / "r", flipped=True, logits=[0.0, 1.0], price=(1.0, 1.0))
    if made:
        rows = [counterfactual("sst2/train/1", "a dull story", label="negative", kind="semifactual", flipped=False)]
        run.semifactuals.finish(run.semifactuals.begin({}, labels=["negative", "positive"]), rows)
    text = read_page(join(*quality(exhibits(read_evidence(tmp_path))))).text
    assert ("Beside these stand semifactuals, edits of a shot that are as small" in text) is made
    assert ("only the words that decide tell the classes of a family apart" in text) is made
