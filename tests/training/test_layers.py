"""Matching layers, hidden states computed once, and the maps that only live while a student trains."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cod_cli.errors import UsageError
from cod_cli.models.inference import encode, pad
from cod_cli.models.load import Classifier, load_classifier
from cod_cli.training.layers import (
    HiddenStates,
    MatchedStudent,
    check_same_tokens,
    default_beta,
    hidden_states,
    linear_maps,
    match_layers,
    n_layers,
    reads_last_token,
)
from tests.models.tiny import Family, sentences, tiny_classifier

TEXTS = {f"d/train/{row}": text for row, (text, _) in enumerate(sentences(7, seed=1), start=1)}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(tiny_classifier(tmp_path_factory.mktemp("teacher"), layers=4)), device="cpu")


def encodings(classifier: Classifier, max_length: int = 64) -> dict[str, dict[str, list[int]]]:
    return dict(zip(TEXTS, encode(classifier, list(TEXTS.values()), max_length), strict=True))


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [(3, 6, [2, 4, 6]), (6, 12, [2, 4, 6, 8, 10, 12]), (4, 6, [1, 3, 4, 6]), (2, 2, [1, 2]), (24, 28, None)],
)
def test_student_layers_follow_evenly_spaced_ones_of_the_teacher(
    student: int, teacher: int, layers: list[int] | None
) -> None:
    found = match_layers(student, teacher)
    assert found == (layers or [(i + 1) * teacher // student for i in range(student)])
    assert found[-1] == teacher
    assert found[0] >= 1


def test_layers_can_be_chosen() -> None:
    assert match_layers(2, 6, [1, 6]) == [1, 6]


@pytest.mark.parametrize("chosen", [[2, 4], [0, 2, 4], [2, 4, 7], []])
def test_layers_that_do_not_fit_are_refused_with_what_would(chosen: list[int]) -> None:
    with pytest.raises(UsageError, match="the student has 3 layers, the teacher 6") as caught:
        match_layers(3, 6, chosen)
    assert caught.value.hint == "give 3 numbers from 1 to 6, one for each of the student's layers"


def test_a_student_deeper_than_its_teacher_needs_layers_to_be_named() -> None:
    with pytest.raises(UsageError, match="has 4 layers, the teacher only 2"):
        match_layers(4, 2)
    assert match_layers(4, 2, [1, 1, 2, 2]) == [1, 1, 2, 2]


@pytest.mark.parametrize("family", ["bert", "deberta", "qwen2", "roberta", "distilbert", "modernbert"])
def test_states_are_those_that_each_text_has_alone(tmp_path: Path, family: Family) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path, family=family, layers=3)), device="cpu")
    rows = encodings(classifier)
    states = hidden_states(classifier, rows, [0, 2, 3], batch_size=3)
    assert list(states.by_row) == list(rows)
    for name, encoding in rows.items():
        with torch.no_grad():
            alone = classifier.model(**pad(classifier, [encoding]), output_hidden_states=True).hidden_states
        expected = torch.stack([alone[layer][0] for layer in (0, 2, 3)])
        torch.testing.assert_close(states.by_row[name], expected, rtol=1e-4, atol=1e-5)


def test_the_teacher_is_run_once_for_each_text(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = encodings(teacher)
    seen: list[int] = []
    forward = teacher.model.forward

    def counting(**inputs: torch.Tensor) -> object:
        seen.append(len(inputs["input_ids"]))
        return forward(**inputs)

    monkeypatch.setattr(teacher.model, "forward", counting)
    done: list[int] = []
    hidden_states(teacher, rows, [1], batch_size=4, progress=done.append)
    assert seen == [4, 3]
    assert sum(done) == 7


def test_states_are_padded_with_zeros_as_the_batch_asks() -> None:
    states = HiddenStates({"a": torch.ones(2, 3, 4), "b": 2 * torch.ones(2, 1, 4)})
    batch = states.batch(["b", "a"], 5)
    assert batch.shape == (2, 2, 5, 4)
    assert batch[:, 0, :1].eq(2).all()
    assert batch[:, 0, 1:].eq(0).all()
    assert batch[:, 1, :3].eq(1).all()
    assert batch[:, 1, 3:].eq(0).all()


def test_one_token_of_each_row_can_be_had_in_the_order_of_rows() -> None:
    states = HiddenStates({"a": torch.arange(6.0).view(1, 3, 2), "b": torch.tensor([[[7.0, 8.0]]])})
    assert states.at(0).tolist() == [[[0.0, 1.0]], [[7.0, 8.0]]]
    assert states.at(-1).tolist() == [[[4.0, 5.0]], [[7.0, 8.0]]]


def test_each_layer_is_mapped_by_its_own_map() -> None:
    maps = nn.ModuleList([nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)])
    states = HiddenStates({"a": torch.randn(2, 4, 2)}).map(maps)
    assert states.by_row["a"].shape == (2, 4, 3)
    assert not states.by_row["a"].requires_grad


def test_the_embeddings_are_no_layer_of_the_student(teacher: Classifier) -> None:
    student = MatchedStudent(teacher.model, linear_maps(4, 32, 32, seed=0, device=CPU))
    batch = pad(teacher, list(encodings(teacher).values()))
    with torch.no_grad():
        matched = student(**batch)
        plain = teacher.model(**batch, output_hidden_states=True)
    assert len(matched.hidden) == n_layers(teacher) == len(plain.hidden_states) - 1
    torch.testing.assert_close(matched.hidden, torch.stack(plain.hidden_states[1:]))
    assert torch.equal(matched.logits, plain.logits)


def test_maps_are_optimised_with_the_student(teacher: Classifier) -> None:
    student = MatchedStudent(teacher.model, linear_maps(4, 32, 16, seed=0, device=CPU))
    names = [name for name, parameter in student.named_parameters() if parameter.requires_grad]
    assert [name for name in names if name.startswith("maps.")] == [f"maps.{i}.weight" for i in range(4)]


def test_maps_begin_as_the_identity_where_sizes_agree_else_at_random_by_seed() -> None:
    square = linear_maps(2, 8, 8, seed=0, device=CPU).parameters()
    assert [torch.equal(one, torch.eye(8)) for one in square] == [True, True]
    one, same, other = (list(linear_maps(2, 8, 12, seed=s, device=CPU).parameters()) for s in (0, 0, 1))
    assert torch.equal(one[0], same[0])
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[0], one[1])


def test_tokens_of_one_tokenizer_pass(tmp_path: Path, teacher: Classifier) -> None:
    student = load_classifier(str(tiny_classifier(tmp_path, hidden=16)), device="cpu")
    check_same_tokens(teacher, student, encodings(teacher), encodings(student), "lwd")


def test_another_tokenizer_is_refused_and_what_works_is_named(tmp_path: Path, teacher: Classifier) -> None:
    student = load_classifier(str(tiny_classifier(tmp_path, family="roberta")), device="cpu")
    with pytest.raises(UsageError, match=r"--method ted compares .* token by token.*d/train/1") as caught:
        check_same_tokens(teacher, student, encodings(teacher), encodings(student), "ted")
    assert "--method kd" in str(caught.value.hint)


def test_texts_cut_at_another_length_are_refused(teacher: Classifier) -> None:
    with pytest.raises(UsageError, match="token by token"):
        check_same_tokens(teacher, teacher, encodings(teacher, 4), encodings(teacher), "lwd")


@pytest.mark.parametrize(
    ("family", "beta", "last"), [("bert", 20.0, False), ("deberta", 20.0, False), ("qwen2", 5.0, True)]
)
def test_beta_is_the_papers_for_encoders_and_decoders(tmp_path: Path, family: Family, beta: float, last: bool) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path, family=family)), device="cpu")
    assert default_beta(classifier) == beta
    assert reads_last_token(classifier) is last
