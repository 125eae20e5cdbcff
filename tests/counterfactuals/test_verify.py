"""Gates, the teacher's word and the revert pass, for one candidate after another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from cod_cli.counterfactuals.edits import words
from cod_cli.counterfactuals.verify import Candidate, Verdict, Verifier
from cod_cli.records import Shot

SHOT = Shot(id="a/train/1", text="a dull and slow film", label="negative")
WEIGHTS = {"dull": -3.0, "slow": -1.0, "bright": 3.0, "quick": 1.0}


class WordTeacher:
    """Adds up the weights of the words: below zero is negative, above positive."""

    name, fingerprint, source = "words", "0" * 16, "logits"
    cheap = True
    labels = ("negative", "positive")

    def logits(self, texts: Sequence[str], **_: object) -> npt.NDArray[np.float32]:
        sums = [sum(WEIGHTS.get(word, 0.0) for word in words(text)) for text in texts]
        return np.array([[0.0, total] for total in sums], dtype=np.float32).reshape(len(texts), 2)


def judge(*texts: str, taken: set[str] | None = None, teacher: bool = True, ratio: float = 0.5) -> list[Verdict]:
    verifier = Verifier(WordTeacher() if teacher else None, ("negative", "positive"), max_edit_ratio=ratio)
    return verifier.judge([Candidate(SHOT, "positive", text) for text in texts], taken or set())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("  ", "empty"),
        ("a dull and slow film", "unchanged"),
        ("a  dull and slow film", "unchanged"),
        ("one wholly other sentence about nothing much", "too-far"),
        ("a dull and quick film", "no-flip"),
        ("a bright and slow film", "accepted"),
    ],
)
def test_a_candidate_gets_the_status_of_the_first_check_that_it_fails(text: str, status: str) -> None:
    assert [verdict.status for verdict in judge(text)] == [status]


def test_a_text_that_stands_in_the_run_already_is_a_duplicate() -> None:
    assert judge("a bright and slow film", taken={"a bright and slow film"})[0].status == "duplicate"


def test_the_second_of_two_equal_candidates_is_a_duplicate() -> None:
    assert [v.status for v in judge("a bright and slow film", "a bright and slow film")] == ["accepted", "duplicate"]


def test_three_words_may_change_however_short_the_text_is() -> None:
    shot = Shot(id="a", text="dull slow film", label="negative")
    verifier = Verifier(WordTeacher(), WordTeacher.labels, max_edit_ratio=0.1)
    [verdict] = verifier.judge([Candidate(shot, "positive", "bright quick show")], set())
    assert verdict.status == "accepted"


def test_edits_that_the_flip_does_not_need_are_reverted() -> None:
    [verdict] = judge("a bright and quick movie")
    assert verdict.text == "a bright and slow film"
    assert verdict.minimal


def test_probabilities_are_the_teachers_on_the_shot_and_on_what_is_left() -> None:
    [verdict] = judge("a bright and quick film")
    assert verdict.p_before == pytest.approx(1 / (1 + np.exp(4.0)), abs=1e-6)
    assert verdict.p_after == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


def test_without_a_teacher_what_passes_the_gates_is_accepted_and_nothing_is_claimed() -> None:
    [verdict] = judge("a dull and quick film", teacher=False)
    assert (verdict.status, verdict.flipped, verdict.p_after, verdict.minimal) == ("accepted", None, None, None)


def test_feedback_names_what_was_wrong_and_the_words_that_decide_it() -> None:
    verifier = Verifier(WordTeacher(), WordTeacher.labels, max_edit_ratio=0.5)
    [verdict] = verifier.judge([Candidate(SHOT, "positive", "a dull and quick film")], set())
    told = verifier.feedback(verdict)
    assert "negative" in told
    assert "dull" in told.splitlines()[1]


def test_feedback_on_a_text_that_is_no_step_names_the_words_of_the_shot() -> None:
    verifier = Verifier(WordTeacher(), WordTeacher.labels, max_edit_ratio=0.5)
    for text in (SHOT.text, "nothing of it is left here at all but another story"):
        [verdict] = verifier.judge([Candidate(SHOT, "positive", text)], set())
        assert verdict.status in ("unchanged", "too-far")
        assert "dull" in verifier.feedback(verdict).splitlines()[1]


def test_verdicts_come_in_the_order_of_the_candidates() -> None:
    texts = ["", "a bright and slow film", "a dull and slow film", "a dull and quick film"]
    assert [v.candidate.text for v in judge(*texts)] == texts


def test_an_edit_of_a_columns_name_is_refused_and_says_which() -> None:
    shot = Shot(id="a", text="subject: dull\nbody: a slow film", label="negative")
    verifier = Verifier(
        WordTeacher(), WordTeacher.labels, max_edit_ratio=0.5, revert=False, columns=("subject", "body")
    )
    texts = ("subject: bright\nbody: a slow film", "objections: bright\nbody: a slow film")
    good, bad = verifier.judge([Candidate(shot, "positive", text) for text in texts], set())
    assert (good.status, bad.status) == ("accepted", "malformed")
    assert "changes the name of a column (subject, body)" in str(bad.reason)


@pytest.mark.parametrize(("text", "minimal"), [("a bright and slow film", True), ("a bright and quick film", False)])
def test_without_the_revert_pass_only_a_single_edit_is_sure_to_be_minimal(text: str, minimal: bool) -> None:
    verifier = Verifier(WordTeacher(), ("negative", "positive"), max_edit_ratio=0.5, revert=False)
    [verdict] = verifier.judge([Candidate(SHOT, "positive", text)], set())
    assert (verdict.status, verdict.text, verdict.minimal) == ("accepted", text, minimal)
