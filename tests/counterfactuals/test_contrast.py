"""Which of the texts that the teacher was shown stand beside a shot's first CFEs."""

from collections.abc import Sequence

import numpy as np
import pytest

from cod_cli.counterfactuals.contrast import Family, Gatherer, Shown, Sizes, Witness, Writer, near_key
from cod_cli.counterfactuals.verify import assign_targets
from cod_cli.models.inference import Progress
from cod_cli.records import Shot
from cod_cli.teachers.base import Logits

LABELS = ("negative", "neutral", "positive")
SHOT = Shot(id="d/train/1", text="a dull film about two old friends", label="negative")
KEPT, TURNED, UNSURE = (4.0, 0.0, 0.0), (0.0, 0.0, 4.0), (1.0, 0.0, 1.001)


def gather(
    texts: dict[str, Sequence[float]], *, firsts: dict[str, str] | None = None, shot: Shot = SHOT, **sizes: object
) -> Family:
    wanted = Sizes(**{"per_shot": 3, "semifactuals": 3, "wanted": 3} | sizes)  # type: ignore[arg-type]
    gatherer = Gatherer(wanted, LABELS, {shot.id: KEPT}, {shot.text}, 0.5)
    shown = {text: Shown(np.array(row, dtype=np.float32), Writer("editor")) for text, row in texts.items()}
    return gatherer.gather(shot, firsts or {}, shown)


def test_what_turns_the_teacher_is_a_further_cfe_and_what_does_not_a_semifactual() -> None:
    family = gather(
        {"a fine film about two old friends": TURNED, "a dull film about two new friends": KEPT},
        firsts={"positive": "a great film about two old friends"},
    )
    assert [(row.id, row.label, row.kind, row.flipped) for row in family.cfes + family.semifactuals] == [
        ("d/train/1~positive~2", "positive", "cfe", True),
        ("d/train/1~=1", "negative", "semifactual", False),
    ]


def test_the_smallest_edits_are_taken_and_of_equals_the_surest() -> None:
    family = gather(
        {
            "a fine film about two new friends": (0.0, 0.0, 9.0),
            "a fine film about two old friends": (0.0, 0.0, 2.0),
            "a good film about two old friends": (0.0, 0.0, 3.0),
        },
        per_shot=2,
    )
    assert [row.text[:6] for row in family.cfes] == ["a good", "a fine"]
    assert [row.n_edits for row in family.cfes] == [1, 1]


def test_a_class_with_a_first_cfe_gets_one_less() -> None:
    texts = {f"a {word} film about two old friends": TURNED for word in ("fine", "good", "great")}
    family = gather(texts, firsts={"positive": "a great film about two old friends"}, per_shot=2)
    assert [row.id for row in family.cfes] == ["d/train/1~positive~2"]
    assert "great" not in family.cfes[0].text


def test_near_copies_are_left_out_and_counted() -> None:
    family = gather({"a dull film about two new friends": KEPT, "A dull film, about two new friends!": KEPT})
    assert len(family.semifactuals) == family.near_copies == 1


def test_what_is_too_far_unsure_or_of_the_shots_own_label_is_no_row() -> None:
    wrong = SHOT.replace(label="positive")
    assert gather(
        {"an entirely other text of no kin whatsoever": TURNED, "a meh film about two old friends": UNSURE}
    ) == (Family())
    assert gather({"a fine film about two old friends": TURNED}, shot=wrong) == Family()


def test_only_the_class_that_was_asked_for() -> None:
    texts = {"a fine film about two old friends": TURNED, "a long film about two old friends": (0.0, 5.0, 0.0)}
    assert {row.label for row in gather(texts).cfes} == {"neutral", "positive"}
    assert {row.label for row in gather(texts, only="neutral").cfes} == {"neutral"}


def test_only_one_span_is_certainly_minimal() -> None:
    family = gather({"a fine film about two old friends": TURNED, "a fine film about two new friends": TURNED})
    assert [row.minimal for row in family.cfes] == [True, False]


def test_the_same_marks_are_near_copies_where_there_are_no_words() -> None:
    assert near_key("Good, film!") == near_key("good film")
    assert near_key("!?") != near_key("??")


class Constant:
    cheap = True

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        return np.tile(np.float32([1.0, 0.0]), (len(texts), 1))


def test_a_witness_remembers_texts_of_a_family_and_who_wrote_them() -> None:
    witness = Witness(Constant())
    witness.writer = Writer("llm", "p@1")
    witness.logits(["x", "y"], families=["s", None])
    witness.writer = Writer("editor")
    witness.logits(["x"], families=["s"])
    witness.logits(["z"])
    assert {shot: {text: said.writer.name for text, said in of.items()} for shot, of in witness.shown.items()} == {
        "s": {"x": "llm"}
    }


def shots(*labels: str) -> list[Shot]:
    return [Shot(id=str(i), text=f"text {i}", label=label) for i, label in enumerate(labels)]


def test_balanced_targets_are_as_often_a_target_as_a_label() -> None:
    made = shots(*LABELS * 4)
    logits = {
        shot.id: [3.0 if label == shot.label else 2.0 * (label == "neutral") for label in LABELS] for shot in made
    }
    nearest = [t for [t] in assign_targets(made, LABELS, logits, "nearest")]
    balanced = [t for [t] in assign_targets(made, LABELS, logits, "balanced")]
    assert nearest.count("neutral") == 8
    assert [balanced.count(label) for label in LABELS] == [4, 4, 4]
    assert all(target != shot.label for target, shot in zip(balanced, made, strict=True))


def test_of_balanced_targets_the_nearest_shots_take_them() -> None:
    made = shots("negative", "negative", "neutral", "positive")
    logits = {"0": [3.0, 2.9, 0.0], "1": [3.0, 0.5, 2.0], "2": [2.0, 3.0, 0.0], "3": [1.0, 0.0, 3.0]}
    assert assign_targets(made, LABELS, logits, "balanced") == [["neutral"], ["positive"], ["negative"], ["negative"]]


@pytest.mark.parametrize("choice", range(3))
def test_a_shot_that_fits_no_free_class_goes_to_its_nearest(choice: int) -> None:
    made = shots("negative", "negative", "negative")
    logits = {shot.id: [3.0, 2.0, 1.0] for shot in made} | {str(choice): [3.0, 1.0, 2.0]}
    found = assign_targets(made, LABELS, logits, "balanced")
    assert found[choice] == ["positive"]
    assert found[choice - 1] == ["neutral"]
