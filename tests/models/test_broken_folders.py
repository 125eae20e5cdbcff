"""Model folders whose files are damaged or do not belong together: an error that says what, never random numbers."""

import contextlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cod_cli.errors import CodError
from cod_cli.evaluation.baselines import sentence_vectors
from cod_cli.models.folder import fingerprint
from cod_cli.models.inference import encode, logits_of
from cod_cli.models.load import load_classifier, load_encoder
from cod_cli.models.memory import need_of
from tests.models.tiny import load_student, tiny_base, tiny_classifier

TEXTS = ["the film is good", "unheard of!"]


def as_teacher(folder: Path) -> None:
    fingerprint(folder)
    logits_of(load_classifier(str(folder)), TEXTS)


def as_student(folder: Path) -> None:
    fingerprint(folder)
    student = load_student(folder, ["a", "b"])
    encode(student, TEXTS)


def as_neighbours(folder: Path) -> None:
    sentence_vectors(load_encoder(str(folder)), TEXTS)


ROLES = [as_teacher, as_student, as_neighbours]
Tensors = dict[str, torch.Tensor]


def half(tensors: Tensors) -> Tensors:
    return dict(list(tensors.items())[::2])


def prefixed(tensors: Tensors) -> Tensors:
    return {f"other.{name}": tensor for name, tensor in tensors.items()}


def empty(tensors: Tensors) -> Tensors:
    return {}


def smaller(tensors: Tensors) -> Tensors:
    return {name: tensor[..., :8].contiguous() for name, tensor in tensors.items()}


def with_nan(tensors: Tensors) -> Tensors:
    return {name: tensor.index_fill(0, torch.tensor([0]), float("nan")) for name, tensor in tensors.items()}


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("change", [half, prefixed, empty])
def test_missing_weights_are_counted(role: Any, change: Any, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    change_weights(folder, change)
    with pytest.raises(CodError, match=r"\d+ of 37 weights do not fit .* \d+ are missing, 0 have another size"):
        role(folder)


@pytest.mark.parametrize("role", ROLES)
def test_weights_of_another_size_are_counted(role: Any, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    change_weights(folder, smaller)
    with pytest.raises(CodError, match=r"37 of 37 weights do not fit .* 0 are missing, 37 have another size"):
        role(folder)


@pytest.mark.parametrize("role", ROLES)
def test_weights_that_are_no_numbers_are_refused(role: Any, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    change_weights(folder, with_nan)
    with pytest.raises(CodError, match="weights hold NaN or infinity"):
        role(folder)


def test_a_pooler_that_a_masked_lm_has_not_is_drawn_anew(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path)
    change_weights(folder, lambda tensors: {name: t for name, t in tensors.items() if "pooler" not in name})
    as_student(folder)
    as_neighbours(folder)


@pytest.mark.parametrize("role", [as_teacher, as_neighbours])
def test_overflow_is_told_with_model_and_text(role: Any, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    change_weights(folder, lambda tensors: {name: torch.full_like(t, 1e30) for name, t in tensors.items()})
    with pytest.raises(
        CodError, match=r"gives NaN or infinity for 2 of 2 texts; the first, text 1: 'the film is good'"
    ):
        role(folder)


def edit(name: str, **changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("it-ran",)


def pickled(content: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return change


def change_vocabulary(change: Callable[[dict[str, int]], dict[str, int]]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        tokenizer["model"]["vocab"] = change(tokenizer["model"]["vocab"])
        path.write_text(json.dumps(tokenizer))

    return apply


BROKEN: dict[str, Callable[[Path], object]] = {
    **{f"config is {text[:6]}": write("config.json", text) for text in ("[]", "null", '"x"', "5", "[" * 100_000)},
    "hidden size NaN": edit("config.json", hidden_size=float("nan")),
    "hidden size 0": edit("config.json", hidden_size=0),
    "hidden size text": edit("config.json", hidden_size="32"),
    "labels a list": edit("config.json", id2label=["negative", "positive"]),
    "a million layers": edit("config.json", num_hidden_layers=10**6),
    "five words": edit("config.json", vocab_size=5),
    "padding far behind": edit("config.json", pad_token_id=10**6),
    "dtype unknown": edit("config.json", dtype="zzz"),
    "dropout text": edit("config.json", hidden_dropout_prob="x"),
    "pickle that runs": pickled(pickle.dumps(Evil())),
    "pickle of a list": pickled(pickle.dumps([1])),
    "pickle of garbage": pickled(b"garbage"),
    "pickle empty": pickled(b""),
    "tokenizer null": write("tokenizer.json", "null"),
    "tokenizer without words": change_vocabulary(lambda vocab: {"the": 0}),
    "token numbers too large": change_vocabulary(lambda vocab: {word: n + 31_000 for word, n in vocab.items()}),
    "one token too large": change_vocabulary(lambda vocab: {**vocab, "film": 31_000}),
    "tokenizer class a number": edit("tokenizer_config.json", tokenizer_class=5),
    "tokenizer settings a list": write("tokenizer_config.json", "[]"),
    "longest negative": edit("tokenizer_config.json", model_max_length=-5),
    "longest text": edit("tokenizer_config.json", model_max_length="x"),
    "longest NaN": edit("tokenizer_config.json", model_max_length=float("nan")),
    "padding token without a row": edit("tokenizer_config.json", pad_token="[NEW]"),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_an_error_with_a_hint(
    case: str, role: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_classifier("model")
    BROKEN[case](folder)
    with pytest.raises(CodError) as caught:
        role(folder)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not Path("it-ran").exists()


CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer
Path(r"{marker}").write_text("run")
class Config(BertConfig): model_type = "custom"
class Classifier(BertForSequenceClassification): config_class = Config
class Encoder(BertModel): config_class = Config
class Tokenizer(BertTokenizer): pass
"""


@pytest.mark.parametrize("role", [*ROLES, lambda folder: need_of(str(folder), ["a", "b"])])
@pytest.mark.parametrize("model_type", ["custom", "bert"])
def test_code_in_a_model_folder_is_never_run(
    tmp_path: Path, role: Callable[[Path], object], model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were it run, Python would have to find it: where transformers puts it, which is no part of this test's folder.
    folder, marker = tiny_classifier(tmp_path / "model"), tmp_path / "marker"
    (folder / "code.py").write_text(CODE.format(marker=marker))
    classes = {"AutoConfig": "Config", "AutoModel": "Encoder", "AutoModelForSequenceClassification": "Classifier"}
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": {auto: f"code.{name}" for auto, name in classes.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": {"AutoTokenizer": ["code.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with contextlib.suppress(CodError):
        role(folder)
    assert not marker.exists()
