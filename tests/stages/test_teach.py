"""`cod teach` on a tiny model: what it learns, what it writes, what it refuses."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from cod_cli.errors import CodError, UsageError
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.teach import teach
from cod_cli.training.loop import DivergedError
from cod_cli.ui import Ui
from tests.models.tiny import Family, tiny_base
from tests.stages.teaching import run, weights, write


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for split, seed in (("train", 0), ("validation", 1), ("test", 2)):
        write(folder / f"{split}.jsonl", seed)
    return folder


@pytest.mark.parametrize("family", ["bert", "qwen2"])
def test_an_encoder_or_decoder_learns_the_training_split(tmp_path: Path, data: Path, family: Family) -> None:
    model = tiny_base(tmp_path / "model", family=family)
    result = run(tmp_path / "out", data, model, epochs=25, lr=5e-3)
    assert len(result.teacher.validation) == 25
    assert result.teacher.validation[-1] > 0.8
    assert load_classifier(str(tmp_path / "out"), device="cpu").labels == ("negative", "positive")


def test_the_folder_says_how_it_was_made(tmp_path: Path, data: Path, base: Path) -> None:
    run(tmp_path / "out", data, base, epochs=2)
    stored = yaml.safe_load((tmp_path / "out" / "settings.yaml").read_text())
    assert (stored["source"], stored["split"], stored["rows"], stored["steps"]) == ("films", "train", 48, 12)
    assert stored["settings"]["lr"] == 1e-3
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 12
    assert "fine-tuned by `cod teach`" in (tmp_path / "out" / "README.md").read_text()


def test_the_reported_accuracy_is_that_of_the_last_weights_on_the_validation_split(
    tmp_path: Path, data: Path, base: Path
) -> None:
    result = run(tmp_path / "out", data, base, epochs=2)
    classifier = load_classifier(str(tmp_path / "out"), device="cpu")
    rows = [json.loads(line) for line in (data / "validation.jsonl").read_text().splitlines()]
    chosen = logits_of(classifier, [row["text"] for row in rows]).argmax(1)
    right = sum(classifier.labels[i] == row["label"] for i, row in zip(chosen, rows, strict=True))
    assert result.teacher.validation[-1] == right / len(rows)


def test_the_test_split_is_never_opened(tmp_path: Path, data: Path, base: Path) -> None:
    (data / "test.jsonl").write_text("no JSON at all\n")
    assert run(tmp_path / "out", data, base).fresh


def test_one_file_without_a_validation_split_is_enough(tmp_path: Path, data: Path, base: Path) -> None:
    assert run(tmp_path / "out", data / "train.jsonl", base).teacher.validation == []


def test_validation_does_not_touch_the_training(tmp_path: Path, data: Path, base: Path) -> None:
    run(tmp_path / "with", data, base, epochs=2)
    (data / "validation.jsonl").unlink()
    run(tmp_path / "without", data, base, epochs=2)
    assert weights(tmp_path / "with") == weights(tmp_path / "without")


def test_the_seed_decides_all(tmp_path: Path, data: Path, base: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, data, base, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_the_same_command_again_trains_nothing(tmp_path: Path, data: Path, base: Path) -> None:
    assert run(tmp_path / "out", data, base).fresh
    assert not run(tmp_path / "out", data, base).fresh


def test_other_settings_data_or_contents_at_its_place_are_refused(tmp_path: Path, data: Path, base: Path) -> None:
    run(tmp_path / "out", data, base)
    with pytest.raises(CodError, match=r"trained otherwise.*epochs: 1 → 2") as caught:
        run(tmp_path / "out", data, base, epochs=2)
    assert "--force" in str(caught.value.hint)
    write(data / "train.jsonl", seed=9)
    with pytest.raises(CodError, match="the rows have changed"):
        run(tmp_path / "out", data, base)
    with pytest.raises(CodError, match="not from `cod teach`"):
        run(data, data, base)


def test_force_archives_what_was_there(tmp_path: Path, data: Path, base: Path) -> None:
    run(tmp_path / "out", data, base)
    old = weights(tmp_path / "out")
    run(tmp_path / "out", data, base, epochs=2, force=True)
    assert [weights(path) for path in tmp_path.glob("out.archive/*/out")] == [old]
    # A folder of its own: the one that models stand in side by side stays as it is.
    assert not (tmp_path / "archive").exists()


def test_divergence_keeps_the_last_good_weights_beside(tmp_path: Path, data: Path, base: Path) -> None:
    with pytest.raises(DivergedError, match="diverged at step"):
        run(tmp_path / "out", data, base, lr=1e30)
    kept = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out.diverged")
    assert all(torch.isfinite(parameter).all() for parameter in kept.parameters())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", [".", ""])
def test_a_teacher_needs_a_folder_of_its_own(out: str) -> None:
    with pytest.raises(UsageError, match="no folder of its own"):
        run(Path(out), Path("data"), Path("model"))


def test_a_loss_that_has_hardly_moved_is_told(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", seed=0)
    told: list[str] = []
    ui = Ui.silent()
    ui.warn = told.append  # type: ignore[method-assign]
    base = str(tiny_base(tmp_path / "base"))
    for name, lr, epochs in (("still", 1e-7, 1), ("moved", 5e-3, 6)):
        settings = TeachSettings(
            data=str(tmp_path / "train.jsonl"), model=base, lr=lr, epochs=epochs, batch_size=8, device="cpu"
        )
        teach(tmp_path / name, settings, ui)
    assert len(told) == 1
    assert told[0].startswith("the loss has hardly moved: 0.")
    assert "gives 0.69" in told[0]
