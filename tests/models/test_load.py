"""Loading, cutting, running and saving classifiers of every family."""

import json
import resource
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from cod_cli.errors import CodError, UsageError
from cod_cli.models.inference import encode, logits_of, longest, pad
from cod_cli.models.load import load_classifier, pick_device, require_savable, save_classifier, saving
from tests.models.tiny import Family, load_student, sentences, tiny_base, tiny_classifier

FAMILIES = get_args(Family)
DECODERS = ("qwen2",)
TEXTS = [text for text, _ in sentences(9)] + ["unheard of!", "x " * 60]


def one_by_one(folder: Path, texts: list[str], max_length: int = 128) -> np.ndarray:
    """What plain transformers says, a text at a time, unpadded, in fp32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        rows = [
            model(**tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")).logits[0]
            for text in texts
        ]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_come_in_input_order_whatever_the_batches(family: Family, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path, family=family)
    expected = one_by_one(folder, TEXTS)
    for batch_size in (1, 4, 32):
        logits = logits_of(load_classifier(str(folder)), TEXTS, batch_size=batch_size)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=2e-6)
    assert np.ptp(expected, axis=0).min() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_classifier_gives_the_same_answers_in_a_pipeline(family: Family, tmp_path: Path) -> None:
    folder = tiny_base(tmp_path / "base", family=family, layers=6)
    student = load_student(str(folder), ["no", "maybe", "yes"], layers=3, seed=1)
    logits = logits_of(student, TEXTS)
    save_classifier(student, tmp_path / "student")
    assert sorted(path.suffix for path in (tmp_path / "student").glob("model*")) == [".safetensors"]
    answers = pipeline("text-classification", str(tmp_path / "student"), top_k=None)(TEXTS, batch_size=4)
    scores = np.array([[{a["label"]: a["score"] for a in row}[name] for name in student.labels] for row in answers])
    np.testing.assert_allclose(np.log(scores), torch.log_softmax(torch.tensor(logits), -1), atol=1e-5)
    assert json.loads((tmp_path / "student" / "config.json").read_text())["dtype"] == "float32"
    again = load_classifier(str(tmp_path / "student"))
    assert again.labels == ("no", "maybe", "yes")
    np.testing.assert_array_equal(logits_of(again, TEXTS), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_any_dtype_are_loaded_in_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path, dtype=dtype)
    assert {p.dtype for p in load_classifier(str(folder)).model.parameters()} == {torch.float32}
    assert {p.dtype for p in load_student(str(folder), ["a", "b"]).model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_without_a_padding_token_gets_one_and_keeps_it(family: Family, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "model", family=family)
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    classifier = load_classifier(str(folder))
    assert classifier.tokenizer.pad_token == classifier.tokenizer.eos_token
    save_classifier(classifier, tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").config
    assert (saved.pad_token, config.pad_token_id) == (saved.eos_token, saved.eos_token_id)


def test_a_decoder_can_classify_an_empty_text(tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path, family="qwen2")))
    assert np.isfinite(logits_of(classifier, ["", "the film is bad ."])).all()


def test_encodings_are_unpadded_and_cut(tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path)))
    short, long = encode(classifier, ["the film", "the film " * 50], max_length=16)
    assert len(short["input_ids"]) == 4
    assert len(long["input_ids"]) == 16
    batch = pad(classifier, [short, long])
    assert batch["input_ids"].tolist()[0] == short["input_ids"] + [classifier.tokenizer.pad_token_id] * 12
    assert batch["attention_mask"].sum(-1).tolist() == [4, 16]


@pytest.mark.parametrize(("family", "most"), [("bert", 130), ("roberta", 128), ("deberta", 1000), ("qwen2", 1000)])
def test_texts_are_cut_to_what_the_positions_can_take(family: Family, most: int, tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path, family=family)))
    classifier.tokenizer.model_max_length = 10**30
    assert longest(classifier, 1000) == most
    assert np.isfinite(logits_of(classifier, ["film " * 2000], max_length=1000)).all()


def test_nothing_is_written_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tiny_base(tmp_path / "base")
    capfd.readouterr()
    student = load_student(str(folder), ["a", "b"])
    logits_of(student, TEXTS)
    save_classifier(student, tmp_path / "student")
    load_classifier(str(tmp_path / "student"))
    assert capfd.readouterr() == ("", "")


def test_a_truncation_that_was_asked_for_is_not_saved(tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path / "model")))
    logits_of(classifier, TEXTS, max_length=8)
    save_classifier(classifier, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert (saved["truncation"], saved["padding"]) == (None, None)


def test_a_model_without_a_head_is_refused_as_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(CodError, match="no trained classification head") as caught:
        load_classifier(str(tiny_base(tmp_path)))
    assert "cod teach" in str(caught.value.hint)


def test_a_regression_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodError, match="does not choose one of several classes"):
        load_classifier(str(tiny_classifier(tmp_path, labels=["score"])))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "there is no folder"),
        ("/nowhere/at/all", "there is no folder"),
        ("nobody/nothing", "is no folder here"),
        ("empty", "holds no config.json"),
        ("config-only", "holds no model.safetensors"),
        ("no-tokenizer", "holds no tokenizer"),
        ("torn", "cannot be loaded"),
        ("unknown", "cannot be loaded"),
        ("config-only/config.json", "is a file"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for folder in ("no-tokenizer", "torn", "unknown", "config-only"):
        tiny_base(folder)
    for path in Path("no-tokenizer").glob("token*"):
        path.unlink()
    Path("config-only/model.safetensors").unlink()
    Path("torn/model.safetensors").write_bytes(Path("torn/model.safetensors").read_bytes()[:5000])
    Path("unknown/config.json").write_text('{"model_type": "none-such"}')
    with pytest.raises(CodError, match=message) as caught:
        load_student(name, ["a", "b"])
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_code_in_a_model_folder_is_never_run(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path / "model")
    marker = tmp_path / "it-ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CodError, match="cannot be loaded"):
        load_student(str(folder), ["a", "b"])
    assert not marker.exists()


@pytest.mark.parametrize("name", ["cuda:99", "tpu-of-mine", "xla"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        pick_device(name)


def test_auto_picks_a_device_that_works() -> None:
    assert torch.zeros(1, device=pick_device("auto")).item() == 0
    assert pick_device("cpu") == torch.device("cpu")


def test_what_cannot_be_saved_is_an_error_of_the_system_whatever_library_says_so(
    tmp_path: Path, teacher_folder: Path
) -> None:
    tokenizer = load_classifier(str(teacher_folder), device="cpu").tokenizer
    with pytest.raises(FileNotFoundError), saving():
        tokenizer.backend_tokenizer.save(str(tmp_path / "nowhere" / "tokenizer.json"))
    with pytest.raises(FileNotFoundError), saving():
        save_file({"a": torch.zeros(1)}, tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(ValueError, match="another"), saving():
        raise ValueError("another")


def test_weights_that_no_file_may_hold_are_refused(teacher_folder: Path) -> None:
    classifier = load_classifier(str(teacher_folder), device="cpu")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(CodError, match=r"no file may be larger than 0\.0 MB"):
            require_savable(classifier)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    require_savable(classifier)


def test_code_that_stands_in_a_model_folder_is_not_run(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    ran = tmp_path / "ran"
    custom = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    config |= {"model_type": "own-bert", "auto_map": custom}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import BertConfig, BertForSequenceClassification\n"
        "class OwnConfig(BertConfig): model_type = 'own-bert'\n"
        "class OwnModel(BertForSequenceClassification): config_class = OwnConfig\n"
    )
    with pytest.raises(CodError):
        load_classifier(str(folder))
    assert not ran.exists()
