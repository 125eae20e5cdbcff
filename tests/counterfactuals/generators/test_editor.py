"""The editor: which words it may put in, where, and that it flips teachers of every family."""

from pathlib import Path

import pytest
import torch

from cod_cli.counterfactuals.contrast import Witness
from cod_cli.counterfactuals.edits import column_names, n_edits
from cod_cli.counterfactuals.generators import editor, wordclass
from cod_cli.counterfactuals.generators.base import EditRequest
from cod_cli.counterfactuals.generators.editor import Choice, Wording, build_lexicon, open_editor
from cod_cli.errors import CodError
from cod_cli.metrics import flips
from cod_cli.models.load import load_classifier
from cod_cli.records import Shot
from cod_cli.settings.counterfact import Edits
from cod_cli.settings.shared import TeacherSpec
from cod_cli.teachers.local import WhiteBoxTeacher
from cod_cli.teachers.open import load_teacher
from tests.models.tiny import Family, sentences, tiny_classifier, trained_teacher, vocabulary

LABELS = ("negative", "positive")


def teacher_in(folder: Path, labels: tuple[str, ...] = LABELS) -> WhiteBoxTeacher:
    return load_teacher(TeacherSpec(str(folder)), labels, cache=False, device="cpu")


@pytest.fixture
def exhaustive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score every replacement, so that what is found does not hang on a tiny model's gradient."""
    for name in ("NEAREST_WORDS", "SCORED", "PER_WORD"):
        monkeypatch.setattr(editor, name, 10_000)


def requests(n: int, labels: tuple[str, ...] = LABELS) -> list[EditRequest]:
    others = {label: labels[(i + 1) % len(labels)] for i, label in enumerate(labels)}
    shots = [Shot(id=str(i), text=text, label=label) for i, (text, label) in enumerate(sentences(n, labels))]
    return [EditRequest(shot, others[shot.label], 1) for shot in shots]


def assert_flips(teacher: WhiteBoxTeacher, wanted: list[EditRequest]) -> None:
    proposals = list(open_editor(teacher, vocabulary()).propose(wanted))
    assert [proposal.request for proposal in proposals] == wanted
    for proposal in proposals:
        [text] = proposal.texts
        before, after = teacher.logits([proposal.request.shot.text, text])
        assert flips(before, after, teacher.labels.index(proposal.request.target)), text
        assert n_edits(proposal.request.shot.text, text) == 1


@pytest.mark.usefixtures("exhaustive")
def test_one_word_is_enough_where_one_word_decides(teacher_folder: Path) -> None:
    assert_flips(teacher_in(teacher_folder), requests(12))


@pytest.mark.usefixtures("exhaustive")
@pytest.mark.parametrize("family", ["deberta", "qwen2"])
def test_it_edits_with_unigrams_and_byte_pairs_as_with_word_pieces(family: Family, tmp_path: Path) -> None:
    assert_flips(teacher_in(trained_teacher(tmp_path, family=family)), requests(6))


@pytest.mark.usefixtures("exhaustive")
def test_it_edits_towards_any_of_three_classes(tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    assert_flips(teacher_in(trained_teacher(tmp_path, labels), labels), requests(9, labels))


@pytest.mark.usefixtures("exhaustive")
def test_the_labels_order_of_the_run_need_not_be_the_teachers(teacher_folder: Path) -> None:
    assert_flips(teacher_in(teacher_folder, ("positive", "negative")), requests(6))


def test_a_capital_stays_a_capital(teacher_folder: Path) -> None:
    teacher = teacher_in(teacher_folder)
    request = EditRequest(Shot(id="d", text="Awful acting .", label="negative"), "positive", 1)
    [proposal] = open_editor(teacher, vocabulary()).propose([request])
    assert proposal.texts[0][0].isupper()


def test_only_words_seen_three_times_may_be_put_in(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_classifier(str(teacher_folder))
    monkeypatch.setattr(editor, "ENOUGH", 1)
    assert build_lexicon(classifier, ["good good good bad bad"]).words == ("good",)


def test_the_words_are_those_of_the_source_of_the_shots_or_of_the_teacher(teacher_folder: Path) -> None:
    classifier, texts = load_classifier(str(teacher_folder)), ["the film is good", "the light is bad , bad , bad ."]
    vocabulary_words = set(build_lexicon(classifier, [], "teacher").words)
    assert {"awful", "sister"} < vocabulary_words
    assert set(build_lexicon(classifier, texts, "shots").words) == {"the", "film", "is", "good", "light", "bad"}
    assert set(build_lexicon(classifier, texts, "teacher").words) == vocabulary_words
    assert set(build_lexicon(classifier, texts, "source").words) == vocabulary_words, "they are too few"


def test_without_any_word_there_is_nothing_to_put_in(teacher_folder: Path) -> None:
    request = EditRequest(Shot(id="d", text="the film is bad .", label="negative"), "positive", 1)
    kinds: tuple[Edits, ...] = ("any", "fluent")
    for edits in kinds:
        [proposal] = open_editor(teacher_in(teacher_folder), ["!"], wording=Wording("shots", edits)).propose([request])
        assert (proposal.texts, proposal.status) == ((), "empty")


@pytest.mark.parametrize("family", ["bert", "deberta", "qwen2"])
def test_with_few_texts_the_tokenizers_whole_words_serve(family: Family, tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path, vocabulary(), family=family)))
    words = build_lexicon(classifier, []).words
    assert {"good", "awful", "clever"} <= set(words)
    assert all(word.isalpha() for word in words)


@pytest.mark.usefixtures("exhaustive")
def test_fluent_edits_put_in_words_of_a_kind_only_and_leave_names_alone(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor, "ENOUGH", 1)
    monkeypatch.setattr(wordclass, "ENOUGH_WORDS", 1)
    teacher, texts = (
        teacher_in(teacher_folder),
        [*vocabulary(), *(f"the film is not {n}" for n in ("Bad", "Awful"))] * 9,
    )
    witness = Witness(teacher)
    shot = Shot(id="s", text="the music , the light and Brunda are dull .", label="negative")
    open_editor(teacher, texts, wording=Wording(edits="fluent"), oracle=witness).search_on(
        [(shot, "positive")], flipped=99, kept=99
    )
    put_in = {word for text in witness.shown["s"] for word in text.split()} - set(shot.text.split())
    assert {"great", "weak"} <= put_in
    assert not put_in & {"sister", "told", "before"}
    assert all("Brunda" in text for text in witness.shown["s"])


def test_the_gradient_is_that_of_the_margin_at_the_input_embeddings(teacher_folder: Path) -> None:
    teacher = teacher_in(teacher_folder)
    model, text = teacher.classifier.model.double(), "the film is bad ."
    [embedded], [gradient], _ = open_editor(teacher, vocabulary())._gradients([text], [1])
    direction = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def margin(step: float) -> float:
        with torch.no_grad():
            logits = model(inputs_embeds=(embedded.double() + step * direction)[None]).logits[0]
        return float(logits[1] - logits[0])

    numeric = (margin(1e-4) - margin(-1e-4)) / 2e-4
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-3)


def test_a_text_without_a_word_to_replace_is_said_to_be_one(teacher_folder: Path) -> None:
    request = EditRequest(Shot(id="d", text="!!! 123", label="negative"), "positive", 1)
    [proposal] = open_editor(teacher_in(teacher_folder), vocabulary()).propose([request])
    assert (proposal.texts, proposal.status) == ((), "empty")


def test_it_refuses_a_teacher_whose_gradients_cannot_be_had() -> None:
    with pytest.raises(CodError, match="gradients"):
        open_editor(None, [])


@pytest.mark.usefixtures("exhaustive")
def test_searching_on_leaves_the_names_of_columns_alone(teacher_folder: Path) -> None:
    teacher = teacher_in(teacher_folder)
    witness = Witness(teacher)
    shot = Shot(id="s", text="story: the film is bad .\nfilm: old", label="negative")
    editor = open_editor(teacher, vocabulary(), oracle=witness, columns=("story", "film"))
    editor.search_on([(shot, "positive")], flipped=10_000, kept=10_000)
    assert len(witness.shown["s"]) > 100
    assert all(column_names(text, ("story", "film")) == ["story", "film"] for text in witness.shown["s"])


@pytest.mark.usefixtures("exhaustive")
def test_searching_on_ends_when_there_is_enough(teacher_folder: Path) -> None:
    teacher = teacher_in(teacher_folder)
    witness = Witness(teacher)
    shot = Shot(id="s", text="the film is bad .", label="negative")
    open_editor(teacher, vocabulary(), oracle=witness).search_on([(shot, "positive")], flipped=2, kept=2)
    assert {n_edits(shot.text, text) for text in witness.shown["s"]} == {0, 1}


@pytest.mark.parametrize("labels", [LABELS, ("positive", "negative")])
def test_the_gradient_points_to_the_target_whatever_the_order_of_the_classes(
    labels: tuple[str, ...], teacher_folder: Path
) -> None:
    teacher = teacher_in(teacher_folder, labels)
    place, text = labels.index("positive"), "the film is bad ."
    [embedded], [gradient], _ = open_editor(teacher, vocabulary())._gradients([text], [place])
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        before, after = (
            teacher.classifier.model(inputs_embeds=at[None]).logits[0, teacher.order[place]]
            for at in (embedded, embedded + step)
        )
    assert after > before


def margins(teacher: WhiteBoxTeacher, choice: Choice, wanted: list[EditRequest]) -> list[float]:
    """How far the target is ahead, in logits, in what the editor chooses for each request."""
    texts = [proposal.texts[0] for proposal in open_editor(teacher, vocabulary(), choice).propose(wanted)]
    rows = teacher.logits(texts)
    targets = [teacher.labels.index(request.target) for request in wanted]
    return [float(row[target] - row[1 - target]) for row, target in zip(rows, targets, strict=True)]


@pytest.mark.usefixtures("exhaustive")
def test_each_choice_among_edits_is_another(teacher_folder: Path) -> None:
    teacher, wanted = teacher_in(teacher_folder), requests(4)
    nearest, smallest, confident = (margins(teacher, c, wanted) for c in ("nearest", "smallest", "confident"))
    assert all(0 < near < sure for near, sure in zip(nearest, smallest, strict=True))
    assert all(sure <= most for sure, most in zip(smallest, confident, strict=True))
    assert sum(confident) > sum(smallest), "it stopped at the first edit that flips"


def test_each_text_whose_gradient_is_taken_is_counted(teacher_folder: Path) -> None:
    teacher = teacher_in(teacher_folder)
    open_editor(teacher, vocabulary())._gradients(["the film is bad .", "the film is good ."], [1, 0])
    assert teacher.gradients == 2
