"""Which teacher: said by options, recorded in a manifest, found there again."""

from pathlib import Path
from typing import Any

import pytest

from cod_cli.errors import CodError
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.shared import TeacherSpec

LLM = TeacherSpec("openai:m", prompt="teacher-short", demos=4, votes=5, url="http://a/v1")


@pytest.mark.parametrize("spec", [TeacherSpec("org/name", labels="a=b", max_length=64), LLM])
def test_a_teacher_is_found_again_as_it_was_recorded(spec: TeacherSpec) -> None:
    assert TeacherSpec.from_manifest(spec.record()) == spec


def test_a_local_teacher_is_recorded_without_what_is_about_llms() -> None:
    assert TeacherSpec("org/name").record() == {"teacher": "org/name", "teacher_labels": None, "max_length": 256}


def test_a_folder_is_recorded_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("teacher").mkdir()
    assert TeacherSpec("teacher").record()["teacher"] == str(tmp_path / "teacher")


def test_what_label_records_is_its_teacher() -> None:
    options = LabelSettings(teacher="openai:m", base_url="http://a/v1", votes=5, batch_size=7)
    assert options.results() == TeacherSpec("openai:m", url="http://a/v1", votes=5).record()


def test_the_checks_of_counterfactuals_have_an_address_of_their_own() -> None:
    options = CounterfactSettings(
        teacher="openai:t", model="m", base_url="http://a/v1", teacher_url="http://b/v1", price=(1.0, 2.0)
    )
    assert TeacherSpec.from_manifest(options.results()) == TeacherSpec("openai:t", url="http://b/v1")


def test_without_a_teacher_there_is_none_in_the_record() -> None:
    assert TeacherSpec.from_manifest(LabelSettings().results()).name == ""


def test_an_older_record_without_an_option_means_its_default() -> None:
    assert TeacherSpec.from_manifest({"teacher": "openai:m"}) == TeacherSpec("openai:m")


@pytest.mark.parametrize("change", [{"teacher": 5}, {"teacher_labels": ["a"]}, {"max_length": "x"}])
def test_a_recorded_teacher_of_another_type_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(CodError, match="among the settings of a manifest"):
        TeacherSpec.from_manifest({"teacher": "t", **change})
