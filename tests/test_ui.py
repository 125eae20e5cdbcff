"""What goes to stdout, what to stderr, and that no text is ever taken for a command."""

import io
import json
import logging
import re
from datetime import date
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from cod_cli.errors import CodError
from cod_cli.ui import PIPED_WIDTH, Ui, printable, shortened


def test_results_go_to_stdout_and_messages_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui()
    ui.show(Text("result"))
    ui.note("note")
    ui.warn("beware")
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err == "note\nwarning: beware\n"


def test_an_error_has_its_hint_on_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    Ui().error(CodError("it is broken", "mend it"))
    assert capsys.readouterr().err == "error: it is broken\nhint: mend it\n"


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Ui().error(CodError("it is broken"))
    assert capsys.readouterr().err == "error: it is broken\n"


def test_quiet_hides_notes_and_progress_but_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui(quiet=True)
    ui.note("note")
    with ui.progress("Working", total=1) as advance:
        advance(1, detail="x")
    ui.warn("beware")
    assert capsys.readouterr().err == "warning: beware\n"


def test_where_nobody_looks_a_long_progress_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ui, "line_every", 0.0)
    with Ui().progress("Working", total=2) as advance:
        advance(1, detail="1 accepted")
    assert capsys.readouterr().err.splitlines() == ["Working (2) …", *["Working: 1 of 2, 1 accepted"] * 2]


def test_where_nobody_looks_progress_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Ui().progress("Working", total=2) as advance:
        advance()
        advance(1, detail="loss 0.3")
    assert capsys.readouterr().err == "Working (2) …\n"


def test_a_long_message_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    Ui().error(CodError("x" * (2 * PIPED_WIDTH), "cod label " + "y" * PIPED_WIDTH))
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("say", ["note", "warn"])
def test_messages_are_neither_markup_nor_terminal_commands(say: str, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(Ui(), say)("[red]x[/red] :smile: \x1b[2J\x07")
    assert capsys.readouterr().err.endswith("[red]x[/red] :smile: \\x1b[2J\\x07\n")


def test_a_piped_text_is_neither_wrapped_nor_cut(capsys: pytest.CaptureFixture[str]) -> None:
    text = "one line of " * PIPED_WIDTH + "\nanother"
    Ui().show(Text(text))
    assert capsys.readouterr().out == text + "\n"


def test_json_is_one_document_in_readable_unicode(capsys: pytest.CaptureFixture[str]) -> None:
    Ui(as_json=True).json({"text": "schön", "n": None})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": "schön", "n": None}
    assert "schön" in out


def test_streamed_results_are_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui()
    rows: list[dict[str, Any]] = [{"text": "a\nb"}, {"text": "c"}]
    for row in rows:
        ui.line(row)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("a\x1b]0;title\x07b", "a\\x1b]0;title\\x07b"),
        ("a\rb\tc\x00", "a\\x0db\\x09c\\x00"),
        ("right\u202eleft", "right\\x202eleft"),
        ("two\nlines", "two\nlines"),
        ("schön 很好 🙂", "schön 很好 🙂"),
    ],
)
def test_control_characters_are_made_visible_and_nothing_else(text: str, shown: str) -> None:
    assert printable(text).plain == shown


def test_what_is_logged_meanwhile_is_shown_as_notes_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("cod_cli.llm.endpoint")
    with Ui().listening():
        log.info("it does not take %s", "seed")
        log.warning("beware")
    log.info("nobody listens any more")
    assert capsys.readouterr().err == "it does not take seed\nwarning: beware\n"


def test_the_innermost_console_alone_is_told_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("cod_cli.llm.endpoint")
    with Ui().listening(), Ui.silent().listening():
        log.info("a note")
        log.warning("beware")
    assert capsys.readouterr().err == "warning: beware\n"


def test_a_line_is_json_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"note": "\ud83d", "naïve": float("nan"), "when": [{"day": date(2026, 1, 2)}], "far": (float("-inf"), 1)}
    Ui().line(row)
    said = json.loads(capsys.readouterr().out)
    assert said == {"note": "\ud83d", "naïve": None, "when": [{"day": "2026-01-02"}], "far": [None, 1]}


def test_json_is_ascii_where_the_stream_is_no_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stream)
    Ui(as_json=True).json({"text": "很好"})
    stream.flush()
    assert json.loads(stream.buffer.getvalue()) == {"text": "很好"}  # type: ignore[attr-defined]


def bar_at(width: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Ui, io.StringIO]:
    """A Ui on a terminal of so many columns, and what it writes there."""
    file = io.StringIO()
    monkeypatch.setattr(
        "cod_cli.ui._console", lambda _: Console(file=file, width=width, force_terminal=True, color_system=None)
    )
    return Ui(), file


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bar_count_and_time_left_stay_whatever_else_there_is_to_say(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui, file = bar_at(width, monkeypatch)
    with ui.progress("Training a student of a long name that nobody reads", total=320) as advance:
        for _ in range(160):
            advance(1, detail="loss 24.278  and many more things that would need room " * 3)
    last = file.getvalue().splitlines()[-1]
    drawn = [line for line in file.getvalue().replace("\r", "\n").splitlines() if "160/320" in line]
    assert drawn, last
    assert all("━" in line and ":" in line and len(plain(line)) <= width for line in drawn)


def plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def test_the_parts_of_some_work_move_one_bar_and_only_by_what_leads_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ui, "line_every", 0.0)
    with Ui().whole("Demo") as whole:
        with whole.part(0.4, "teaching", by="Training"):
            whole.note("not shown")
            whole.warn("beware")
            with whole.progress("Reading", total=1) as advance:
                advance()
            with whole.progress("Training t", total=2) as advance:
                advance()
        with whole.part(0.6, "scoring", by="Scoring"):
            pass
    said = capsys.readouterr().err.splitlines()
    assert said[:4] == ["Demo (100) …", "Demo: 0 of 100, teaching", "warning: beware", "Demo: 20 of 100, teaching"]
    assert said[-1] == "Demo: 100 of 100, scoring"
    assert "not shown" not in said


@pytest.mark.parametrize(
    ("text", "room", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("abcd", 1, "…"), ("abcd", 0, ""), ("a", -2, "")]
)
def test_a_text_takes_no_more_room_than_there_is(text: str, room: int, shown: str) -> None:
    assert shortened(text, room) == shown
