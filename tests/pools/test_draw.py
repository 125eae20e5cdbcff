"""Texts drawn from a source of any length."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cod_cli.data.source import TextSource, open_texts
from cod_cli.errors import CodError
from cod_cli.pools.draw import Drawn, draw_texts
from cod_cli.pools.screen import Screen
from cod_cli.ui import Ui


def source_of(texts: Sequence[str], broken: CodError | None = None) -> TextSource:
    def read() -> Iterator[tuple[str, str | None]]:
        yield from ((f"d/train/{n}", text) for n, text in enumerate(texts, start=1))
        if broken:
            raise broken

    return TextSource("d", "train", "d, split train", read, labelled=False)


def draw(source: TextSource, n: int, seed: int = 0) -> Drawn:
    with Ui.silent().progress("") as advance:
        return draw_texts(source, n, seed, Screen(shots=[], scored=[]), advance)


def drawn(texts: Sequence[str], n: int, seed: int = 0) -> list[str]:
    return [text for _, text in draw(source_of(texts), n, seed).texts]


# Numbers as words, so that no two are near-copies.
TEXTS = [f"{n * 7919 % 10007} {n * 104729 % 100003} {n} {n * n}" for n in range(4000)]


def test_one_seed_draws_one_pool_in_whatever_order_the_rows_come() -> None:
    assert drawn(TEXTS, 50) == drawn(TEXTS[::-1], 50)
    assert drawn(TEXTS, 50) != drawn(TEXTS, 50, seed=1)


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    assert drawn(TEXTS, 20) == drawn(TEXTS, 100)[:20]


def test_a_text_that_stands_there_often_is_no_likelier() -> None:
    often = [*["the very same words"] * 500, *TEXTS[:99]]
    taken = Counter(text for seed in range(200) for text in drawn(often, 10, seed))
    assert 5 <= taken["the very same words"] <= 45  # 20 expected


def test_every_text_is_as_likely_as_another() -> None:
    taken = Counter(text for seed in range(400) for text in drawn(TEXTS[:40], 10, seed))
    assert all(60 <= taken[text] <= 140 for text in TEXTS[:40])  # 100 expected, its deviation is 8.7


def test_many_near_copies_do_not_hide_the_other_texts() -> None:
    copies = [f"the long text of which there are a great many near copies in this file {n}" for n in range(3900)]
    found = draw(source_of([*copies, *TEXTS[:60]]), 60)
    assert len(found.texts) == 60
    assert sum(text.startswith("the long text") for _, text in found.texts) <= 1


def test_fewer_texts_than_asked_for_are_all_taken_once() -> None:
    assert sorted(drawn([*TEXTS[:5], *TEXTS[:5]], 50)) == sorted(TEXTS[:5])


def test_what_stands_before_a_break_is_kept() -> None:
    found = draw(source_of(TEXTS[:30], CodError("the line is dead")), 50)
    assert (len(found.texts), found.rows, str(found.broken)) == (30, 30, "the line is dead")


def test_a_source_that_gives_nothing_is_an_error() -> None:
    with pytest.raises(CodError, match="the line is dead"):
        draw(source_of([], CodError("the line is dead")), 5)


def test_the_source_is_never_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(12_000):
            text = " ".join(f"{n * factor % 10**9 + 7}" for factor in range(7919, 7959))
            file.write(json.dumps({"text": text}) + "\n")
    source = open_texts(str(path))
    tracemalloc.start()
    for _ in source.read():
        pass
    streamed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    found = draw(source, 5)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.rows == 12_000
    size = path.stat().st_size
    assert streamed < size / 3  # the first rows, which tell the columns
    assert held < size / 2  # with 1,010 candidates


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    path.write_text('{"text": "one whole line"}\n{"text": "another one"}\n{"text": "half of', encoding="utf-8")
    found = draw(open_texts(str(path)), 5)
    assert sorted(text for _, text in found.texts) == ["another one", "one whole line"]
    assert (found.torn, found.broken) == (True, None)


def test_a_text_file_has_a_text_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("one line\n\nand another\n", encoding="utf-8")
    found = draw(open_texts(str(path)), 5)
    assert sorted(found.texts) == [("notes/all/1", "one line"), ("notes/all/3", "and another")]
    assert found.screen.counts()["empty"] == 1
