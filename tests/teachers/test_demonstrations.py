"""Which shots an LLM is shown: balanced, in order, and never a text's own kin."""

from cod_cli.records import Shot
from cod_cli.teachers.llm import demonstrations

LABELS = ["no", "yes"]
SHOTS = [Shot(id=f"d/{i}", text=f"text {i}", label=LABELS[i % 2 if i < 4 else 0]) for i in range(6)]


def shown(m: int, *, text: str = "new", family: str | None = None) -> list[str]:
    return [shot.id for shot in demonstrations(SHOTS, LABELS, m, text=text, family=family)]


def test_the_classes_take_turns() -> None:
    assert shown(4) == ["d/0", "d/1", "d/2", "d/3"]
    assert shown(3) == ["d/0", "d/1", "d/2"]


def test_none_are_shown_where_none_are_asked_for() -> None:
    assert shown(0) == []


def test_when_a_class_runs_out_the_others_go_on() -> None:
    assert shown(99) == ["d/0", "d/1", "d/2", "d/3", "d/4", "d/5"]


def test_the_family_is_left_out_and_the_next_of_its_class_steps_in() -> None:
    assert shown(4, family="d/0") == ["d/2", "d/1", "d/4", "d/3"]
    assert "d/1" not in shown(99, family="d/1")


def test_the_text_itself_is_left_out_whatever_its_id() -> None:
    assert "d/3" not in shown(99, text=" text 3\n")
