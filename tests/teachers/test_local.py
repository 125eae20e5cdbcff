"""Teachers: label order, the cache, and when an edit counts as a flip."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import flips
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.cache import default_path
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.local import WhiteBoxTeacher, map_labels
from cod_cli.teachers.open import load_teacher
from tests.models.tiny import sentences, tiny_classifier

LABELS = ["negative", "positive"]
TEXTS = [text for text, _ in sentences(12, seed=3)]


def teacher(folder: Path, labels: list[str] = LABELS, *, max_length: int = 256, cache: bool = True) -> WhiteBoxTeacher:
    return load_teacher(TeacherSpec(str(folder), max_length=max_length), labels, cache=cache)


def logits(*probs: float) -> list[float]:
    """Logits of these probabilities, shifted: a teacher's logits have no zero."""
    return [float(np.log(p)) + 3 for p in probs]


def test_the_tiny_teacher_is_right_and_its_single_words_flip_it(teacher_folder: Path) -> None:
    read = teacher(teacher_folder)
    rows = sentences(40, seed=9)
    chosen = read.logits([text for text, _ in rows]).argmax(-1)
    assert [LABELS[i] for i in chosen] == [label for _, label in rows]
    before, after = read.logits(["the film is dull .", "the film is clever ."])
    assert flips(before, after, 1)
    assert flips(after, before, 0)


def test_columns_are_in_the_runs_order(teacher_folder: Path) -> None:
    forward, backward = teacher(teacher_folder), teacher(teacher_folder, LABELS[::-1])
    np.testing.assert_array_equal(forward.logits(TEXTS), backward.logits(TEXTS)[:, ::-1])
    np.testing.assert_allclose(forward.logits(TEXTS), logits_of(load_classifier(str(teacher_folder)), TEXTS), atol=1e-6)
    assert backward.labels == ("positive", "negative")


def test_a_white_box_teacher_is_a_teacher(teacher_folder: Path) -> None:
    found: Teacher = teacher(teacher_folder)
    assert (found.name, found.source, len(found.fingerprint)) == (str(teacher_folder), "logits", 16)


def test_no_text_is_scored_twice(teacher_folder: Path) -> None:
    first = teacher(teacher_folder)
    seen: list[int] = []
    whole = first.logits([*TEXTS, *TEXTS], progress=seen.append)
    assert first.new_outputs == len(set(TEXTS))
    assert sum(seen) == 2 * len(TEXTS)
    np.testing.assert_array_equal(first.logits(TEXTS[3:5]), whole[3:5])
    assert first.new_outputs == len(set(TEXTS))
    second = teacher(teacher_folder)
    np.testing.assert_array_equal(second.logits(TEXTS), whole[: len(TEXTS)])
    assert second.new_outputs == 0


def test_progress_counts_every_text_once(teacher_folder: Path) -> None:
    read = teacher(teacher_folder)
    seen: list[int] = []
    read.logits(TEXTS[:5])
    read.logits([TEXTS[0], "a new text", "a new text", *TEXTS], progress=seen.append)
    assert sum(seen) == 3 + len(TEXTS)


def test_another_length_or_another_model_is_another_entry(teacher_folder: Path, tmp_path: Path) -> None:
    long = "the film is bad . " * 10
    whole = teacher(teacher_folder).logits([long])
    short = teacher(teacher_folder, max_length=8)
    assert not np.allclose(short.logits([long]), whole, atol=1e-4)
    other = teacher(tiny_classifier(tmp_path, seed=5))
    assert not np.allclose(other.logits([long]), whole, atol=1e-2)
    assert (short.new_outputs, other.new_outputs) == (1, 1)


def test_without_the_cache_nothing_is_written(teacher_folder: Path) -> None:
    teacher(teacher_folder, cache=False).logits(TEXTS)
    assert not default_path("teacher-logits").exists()


def test_the_cache_holds_no_text(teacher_folder: Path) -> None:
    teacher(teacher_folder).logits(["a secret told to nobody"])
    path = default_path("teacher-logits")
    files = [file.read_bytes() for file in path.parent.iterdir()]
    assert files
    assert not any(b"secret" in content for content in files)


@pytest.mark.parametrize("value", ["x'00'", "12345678", "'12345678'", "x'0000c07f0000c07f'"])
def test_an_entry_that_is_no_logits_is_scored_anew(value: str, teacher_folder: Path) -> None:
    expected = teacher(teacher_folder).logits(TEXTS)
    with sqlite3.connect(default_path("teacher-logits")) as db:
        db.execute(f"UPDATE entries SET value = {value}")
    db.close()
    np.testing.assert_array_equal(teacher(teacher_folder).logits(TEXTS), expected)


def test_no_texts_give_no_rows(teacher_folder: Path) -> None:
    assert teacher(teacher_folder).logits([]).shape == (0, 2)


def test_names_match_as_they_are_and_without_regard_to_case() -> None:
    assert map_labels(["b", "a"], ["a", "b"]) == [1, 0]
    assert map_labels(["NEGATIVE", "Positive"], ["positive", "negative"]) == [1, 0]
    assert map_labels(["A", "a"], ["a", "A"]) == [1, 0]


def test_an_option_renames_the_teachers_labels() -> None:
    renamed = "LABEL_0=negative,LABEL_1=positive"
    assert map_labels(["LABEL_0", "LABEL_1"], ["positive", "negative"], renamed) == [1, 0]
    assert map_labels(["LABEL_0", "neutral", "pos"], ["pos", "neg", "Neutral"], "LABEL_0=neg") == [2, 0, 1]


def test_an_option_can_turn_the_teachers_labels_round() -> None:
    assert map_labels(["no", "yes"], ["no", "yes"], "no=yes,yes=no") == [1, 0]


@pytest.mark.parametrize(
    ("teachers", "labels", "option"),
    [
        (["LABEL_0", "LABEL_1"], ["negative", "positive"], "LABEL_0=negative,LABEL_1=positive"),
        (["POS", "NEG"], ["negative", "positive"], "POS=positive,NEG=negative"),
        (["Neutral", "LABEL_1"], ["neutral", "positive"], "LABEL_1=positive"),
        (["0", "1"], ["very negative", "very positive"], "'0=very negative,1=very positive'"),
    ],
)
def test_the_error_for_unmatched_labels_holds_an_option_that_works(
    teachers: list[str], labels: list[str], option: str
) -> None:
    with pytest.raises(CodError, match="are not those of the shots") as caught:
        map_labels(teachers, labels)
    assert str(caught.value.hint).endswith(f"--teacher-labels {option}")
    pasted = option.strip("'")
    assert sorted(map_labels(teachers, labels, pasted)) == list(range(len(labels)))


@pytest.mark.parametrize("labels", [["negative"], ["negative", "positive", "mixed"]])
def test_a_teacher_of_fewer_or_more_classes_cannot_be_used(labels: list[str]) -> None:
    with pytest.raises(CodError, match="are not those of the shots") as caught:
        map_labels(["negative", "positive"], labels)
    assert "--teacher-labels" not in str(caught.value.hint)


@pytest.mark.parametrize("option", ["LABEL_7=negative", "LABEL_0=good", "LABEL_0", "LABEL_0=negative,LABEL_0=positive"])
def test_an_option_that_names_other_labels_is_a_usage_error(option: str) -> None:
    with pytest.raises(UsageError, match="--teacher-labels"):
        map_labels(["LABEL_0", "LABEL_1"], LABELS, option)


def test_two_labels_renamed_to_one_are_refused() -> None:
    with pytest.raises(CodError):
        map_labels(["LABEL_0", "LABEL_1"], LABELS, "LABEL_0=negative,LABEL_1=negative")


def test_where_weights_are_needed_an_llm_is_refused() -> None:
    with pytest.raises(UsageError, match="weights are not at hand"):
        load_teacher(TeacherSpec("openai:gpt-4o"), LABELS)


def test_no_teacher_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no teacher"):
        load_teacher(LabelSettings().teacher_spec, LABELS)


@pytest.mark.parametrize(
    ("before", "after", "flipped"),
    [
        ((0.9, 0.1), (0.49, 0.51), True),
        ((0.9, 0.1), (0.4951, 0.5049), False),
        ((0.9, 0.1), (0.6, 0.4), False),
        ((0.4, 0.6), (0.1, 0.9), False),
        ((0.5, 0.5), (0.1, 0.9), True),
        ((0.6, 0.3, 0.1), (0.1, 0.5, 0.4), True),
        ((0.1, 0.3, 0.6), (0.1, 0.46, 0.44), True),
        ((0.1, 0.3, 0.6), (0.1, 0.451, 0.449), False),
        ((0.1, 0.3, 0.6), (0.6, 0.3, 0.1), False),
    ],
)
def test_a_flip_turns_the_choice_to_the_target_by_a_margin(
    before: tuple[float, ...], after: tuple[float, ...], flipped: bool
) -> None:
    assert flips(logits(*before), logits(*after), 1) is flipped


def test_a_flips_margin_can_be_chosen() -> None:
    assert flips(logits(0.9, 0.1), logits(0.499, 0.501), 1, margin=0.001)
    assert not flips(logits(0.9, 0.1), logits(0.45, 0.55), 1, margin=0.2)
