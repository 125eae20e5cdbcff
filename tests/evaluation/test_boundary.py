"""Boundary agreement, by pairs made by hand."""

from pathlib import Path

import numpy as np
import pytest

from cod_cli import metrics
from cod_cli.data.heldout import HeldOut
from cod_cli.evaluation.reference import Pairs, boundary_agreement_by_generator, held_out_pairs
from cod_cli.records import Counterfactual, Shot
from cod_cli.store.run import Run

LABELS = ["negative", "positive"]
NEG, POS = [1.0, 0.0], [0.0, 1.0]


def test_a_pair_counts_only_if_both_members_are_decided_as_the_teacher_does() -> None:
    teacher = (np.array([NEG, NEG, POS, POS]), np.array([POS, POS, NEG, NEG]))
    # Follows the first pair, stays on one side of the second, is turned about on the third, is off by one on the last.
    student = (np.array([NEG, NEG, NEG, POS]), np.array([POS, NEG, POS, POS]))
    assert metrics.boundary_agreement(teacher, student) == 0.25
    assert metrics.boundary_agreement(teacher, teacher) == 1.0


def test_a_student_that_always_says_the_same_follows_across_no_boundary() -> None:
    teacher = (np.array([NEG, POS]), np.array([POS, NEG]))
    always = (np.array([POS, POS]), np.array([POS, POS]))
    assert metrics.boundary_agreement(teacher, always) == 0.0


def test_shares_are_over_all_pairs_and_by_who_wrote_them() -> None:
    # Three scored rows; two pairs by the editor, made from rows 0 and 2, and one by an LLM from row 0.
    pairs = Pairs(("a", "b", "c"), ("x", "y", "z"), (0, 2, 0), ("editor", "editor", "openai:m"))
    teacher = np.array([NEG, POS, POS, POS, NEG, POS], dtype=np.float32)
    student = np.array([NEG, NEG, POS, POS, POS, NEG], dtype=np.float32)
    found = boundary_agreement_by_generator(pairs, teacher, student)
    assert found["boundary_agreement"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["boundary_by_generator"] == {"editor": 0.5, "openai:m": 0.0}


def test_without_pairs_there_is_no_number() -> None:
    assert boundary_agreement_by_generator(Pairs(), np.array([NEG]), np.array([NEG])) == {}
    assert Pairs().digest is None


def row(n: int, text: str, generator: str = "editor") -> Counterfactual:
    return Counterfactual(
        id=f"d/test/{n}~positive",
        shot_id=f"d/test/{n}",
        text=text,
        label="positive",
        source_label="negative",
        kind="cfe",
        generator=generator,
        prompt=None,
        flipped=True,
        p_before=0.1,
        p_after=0.9,
        edit_ratio=0.1,
        n_edits=1,
        minimal=True,
        attempts=1,
    )


def write(run: Run, generator: str, rows: list[Counterfactual], teacher: str = "t", *, complete: bool = True) -> None:
    held = run.held_out(generator)
    shots = [Shot(id=f"d/test/{n}", text=f"text {n}", label="negative") for n in range(1, 5)]
    held.shots.finish(held.shots.begin({}, labels=LABELS), shots)
    begun = held.rows.begin({}, labels=LABELS, teacher=teacher)
    held.rows.finish(begun, rows, complete=complete)


def scored_rows(*numbers: int) -> HeldOut:
    ids, texts = tuple(f"d/test/{n}" for n in numbers), tuple(f"text {n}" for n in numbers)
    return HeldOut("d", "test", ids, texts, None, {})


def test_pairs_of_several_generators_are_told_apart_though_their_ids_are_equal(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "editor", [row(1, "by hand"), row(2, "too")])
    write(run, "openai", [row(1, "by an LLM", "openai:m")])
    pairs = held_out_pairs(run, scored_rows(2, 1), "t")
    assert dict(zip(pairs.ids, pairs.texts, strict=True)) == {
        "d/test/1~positive@held-out-editor": "by hand",
        "d/test/2~positive@held-out-editor": "too",
        "d/test/1~positive@held-out-openai": "by an LLM",
    }
    assert (pairs.sources, pairs.generators) == ((1, 0, 1), ("editor", "editor", "openai:m"))


def test_a_pair_whose_text_is_not_scored_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "editor", [row(1, "one"), row(2, "two"), row(3, "three")])
    changed = HeldOut("d", "test", ("d/test/1", "d/test/2"), ("text 1", "another text"), None, {})
    assert held_out_pairs(run, changed, "t").texts == ("one",)


def test_pairs_of_another_teacher_or_unfinished_ones_do_not_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "editor", [row(1, "one")], teacher="other")
    write(run, "openai", [row(1, "two")], complete=False)
    assert held_out_pairs(run, scored_rows(1, 2), "t") == Pairs()
    assert held_out_pairs(run, scored_rows(1, 2), None) == Pairs()
