"""Where a model's files are found, and the fingerprint that tells two models apart."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import errors
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from cod_cli.errors import CodError
from cod_cli.models import folder as checkpoints
from cod_cli.models.folder import find_model, fingerprint
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from tests.models.tiny import sentences, tiny_base, tiny_classifier

# The library that the installed client of the Hub is built on.
httpx = sys.modules[errors.HTTPError.__module__.partition(".")[0]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, "is gated"),
        (RepositoryNotFoundError, "nor a model on the Hub"),
        (LocalEntryNotFoundError, "cannot be reached"),
        (HfHubHTTPError, "cannot be reached"),
        # A line that breaks while weights come in; the client stands on this library.
        (httpx.ReadTimeout, "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error.__new__(error)

    monkeypatch.setattr(checkpoints, "snapshot_download", refuse)
    with pytest.raises(CodError, match=f"org/name .*{message}"):
        find_model("org/name")


def test_from_the_hub_safetensors_are_fetched_and_pickles_only_in_their_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_base(tmp_path)
    asked: list[str] = []

    def download(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append(allow_patterns[-1])
        if allow_patterns[-1].endswith(".bin"):
            torch.save({}, folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(checkpoints, "snapshot_download", download)
    assert find_model("org/name") == folder
    assert asked == ["*.safetensors"]
    (folder / "model.safetensors").unlink()
    assert find_model("org/name") == folder
    assert asked[1:] == ["*.safetensors", "pytorch_model*.bin"]


def test_a_fingerprint_changes_with_weights_labels_and_tokenizer_only(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "a")
    before = fingerprint(folder)
    assert fingerprint(Path(shutil.copytree(folder, tmp_path / "b"))) == before
    (folder / "README.md").write_text("a card")
    assert fingerprint(folder) == before
    assert fingerprint(tiny_classifier(tmp_path / "c", seed=1)) != before
    assert fingerprint(tiny_classifier(tmp_path / "d", labels=["positive", "negative"])) != before
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] ^= True  # either is some version's default
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert fingerprint(folder) != before


def test_pickled_weights_are_taken_only_where_there_are_no_safetensors(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path)
    expected = logits_of(load_classifier(str(folder)), [text for text, _ in sentences(9)])
    torch.save(load_classifier(str(folder)).model.state_dict(), folder / "pytorch_model.bin")
    before = fingerprint(folder)
    (folder / "model.safetensors").unlink()
    assert fingerprint(folder) != before
    np.testing.assert_array_equal(logits_of(load_classifier(str(folder)), [text for text, _ in sentences(9)]), expected)


def test_a_model_folder_is_found_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_base(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~/model") == tmp_path / "model"
