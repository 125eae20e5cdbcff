"""The editor with a masked language model: what is plausible in a word's place, and folders that hold no such model."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM

from cod_cli.counterfactuals.contrast import Witness
from cod_cli.counterfactuals.edits import tokenize, words
from cod_cli.counterfactuals.generators import infill
from cod_cli.counterfactuals.generators.editor import Wording, open_editor
from cod_cli.counterfactuals.generators.infill import open_infill
from cod_cli.errors import CodError
from cod_cli.models.load import load_masked_lm
from cod_cli.records import Shot
from cod_cli.settings.shared import TeacherSpec
from cod_cli.teachers.open import load_teacher
from tests.models.tiny import LANGUAGE, Family, tiny_base, tiny_classifier, tiny_masked_lm, vocabulary

LEXICON = [*LANGUAGE["negative"], *LANGUAGE["positive"], "unheard"]


def scores(folder: Path, text: str, positions: list[int], lexicon: list[str] = LEXICON) -> torch.Tensor:
    [found] = open_infill(str(folder), lexicon, max_length=64, device="cpu").plausible([(tokenize(text), positions)])
    return found


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "deberta"])
def test_a_word_scores_its_log_probability_at_the_masked_place(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MARGIN", "FARTHEST"):
        monkeypatch.setattr(infill, name, math.inf)
    folder = tiny_masked_lm(tmp_path, family=family)
    lm = load_masked_lm(str(folder))
    found = scores(folder, "the film is bad .", [1, 3])
    mask = lm.tokenizer.mask_token
    for row, masked in zip(found, (f"the {mask} is bad .", f"the film is {mask} ."), strict=True):
        batch = lm.tokenizer(masked, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            [logits] = AutoModelForMaskedLM.from_pretrained(folder)(**batch).logits
        [place] = (batch["input_ids"][0] == lm.tokenizer.mask_token_id).nonzero()[0].tolist()
        great = lm.tokenizer("a great", add_special_tokens=False)["input_ids"][-1]
        assert row[LEXICON.index("great")] == pytest.approx(float(logits[place].log_softmax(-1)[great]), abs=1e-4)


def test_what_is_a_hundred_times_less_likely_than_the_word_itself_may_not_stand(tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path, likely={"bad": 20.0, "great": 17.0, "weak": 14.0})
    [found] = scores(folder, "the film is bad .", [3])
    allowed = {word for word, score in zip(LEXICON, found.tolist(), strict=True) if score > -math.inf}
    assert allowed == {"bad", "great"}


def test_what_is_a_thousand_times_less_likely_than_the_likeliest_may_not_stand_either(tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path, likely={"great": 17.0, "weak": 14.0})
    [found] = scores(folder, "the film is flabbergasting .", [3])
    allowed = {word for word, score in zip(LEXICON, found.tolist(), strict=True) if score > -math.inf}
    assert allowed == {"great", "weak"}


def test_the_editor_puts_in_what_is_plausible_in_context_only(tmp_path: Path, teacher_folder: Path) -> None:
    plausible = {"great": 20.0, "clever": 20.0, "awful": 20.0}
    folder = tiny_masked_lm(tmp_path, likely=plausible)
    teacher = load_teacher(TeacherSpec(str(teacher_folder)), ("negative", "positive"), cache=False)
    witness = Witness(teacher)
    shot = Shot(id="s", text="the film is bad .", label="negative")
    editor = open_editor(teacher, vocabulary(), wording=Wording(model=str(folder)), oracle=witness)
    editor.search_on([(shot, "positive")], flipped=99, kept=99)
    put_in = {word for text in witness.shown["s"] for word in words(text)} - set(words(shot.text))
    assert put_in == set(plausible)


def test_a_place_behind_the_teachers_last_token_is_left_alone(tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path)
    found = open_infill(str(folder), LEXICON, max_length=4, device="cpu")
    [rows] = found.plausible([(tokenize("the film is bad ."), [0, 3])])
    assert (rows > -math.inf).any(1).tolist() == [True, False]


@pytest.mark.parametrize(("make", "family"), [(tiny_classifier, "bert"), (tiny_base, "bert"), (tiny_base, "qwen2")])
def test_another_kind_of_model_is_refused(make: "type[Path]", family: Family, tmp_path: Path) -> None:
    make(tmp_path, family=family)
    with pytest.raises(CodError, match="is no masked language model") as refused:
        load_masked_lm(str(tmp_path))
    assert "fill masks" in str(refused.value.hint)


def test_a_damaged_or_missing_folder_is_said_as_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(CodError, match="no model folder"):
        load_masked_lm(str(tmp_path))
    folder = tiny_masked_lm(tmp_path)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CodError, match="cannot be loaded"):
        load_masked_lm(str(folder))
