"""What `cod counterfact` still has to ask for, and what it has got."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.ledger import Case, Ledger
from cod_cli.counterfactuals.verify import Candidate, Verdict
from cod_cli.records import Manifest, Shot
from cod_cli.store.run import Run

TARGETS = {"a": ["b"], "b": ["a"]}


class Silent:
    """A generator that is only counted, never asked."""

    def __init__(self, name: str = "llm", max_attempts: int = 1, prompts: Sequence[str | None] = (None,)) -> None:
        self.name, self.prompts, self.max_attempts = name, prompts, max_attempts

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        raise AssertionError


def shots(n: int) -> list[Shot]:
    return [Shot(id=f"d/train/{i}", text=f"text number {i}", label="ab"[i % 2]) for i in range(1, n + 1)]


def ledger(tmp_path: Path, n: int = 4, *, attempts: int = 1, others: int = 1, **options: object) -> Ledger:
    generators = options.get("generators") or [Silent(max_attempts=attempts)]
    targets = {label: [f"t{i}" for i in range(others)] if others > 1 else TARGETS[label] for label in "ab"}
    wanted = [(shot, targets[shot.label]) for shot in shots(n)]
    return Ledger(Run(tmp_path).cfe_files, wanted, options.get("chosen") or {}, generators)  # type: ignore[arg-type]


def answer(book: Ledger, case: Case, *texts: str, status: str | None = None, prompt: str | None = None) -> Case:
    request = EditRequest(case.shot, case.target, case.of(prompt).count + 1, prompt=prompt)
    proposal = Proposal(request, texts, status, status)  # type: ignore[arg-type]
    verdicts = [
        Verdict(Candidate(case.shot, case.target, text), text, "no-flip" if text.startswith("bad") else "accepted")
        for text in texts
    ]
    book.settle(proposal, verdicts)
    return case


def flip(book: Ledger, case: Case) -> None:
    answer(book, case, f"{case.shot.text} flipped to {case.target}")


def finished(complete: bool = True) -> Manifest:
    return Manifest(
        stage="2-counterfactuals",
        complete=complete,
        cod_version="0",
        created="now",
        labels=["a", "b"],
        settings={},
        seed=0,
        inputs={},
    )


def test_every_case_is_asked_for_without_a_budget(tmp_path: Path) -> None:
    assert len(ledger(tmp_path, 4).asked(None)) == 4


def test_the_walk_asks_for_half_of_the_shots_of_two_classes(tmp_path: Path) -> None:
    asked = ledger(tmp_path, 8).asked(8)
    assert [case.shot.id for case in asked] == ["d/train/1", "d/train/2", "d/train/3", "d/train/4"]


def test_two_failures_extend_the_walk_by_another_shot(tmp_path: Path) -> None:
    book = ledger(tmp_path, 8)
    first, second, *rest = book.asked(8)
    for case in (first, second):
        answer(book, case, "bad")
    for case in rest:
        flip(book, case)
    assert [case.shot.id for case in book.asked(8)] == ["d/train/5"]


def test_the_walk_asks_for_nothing_when_one_row_is_left(tmp_path: Path) -> None:
    book = ledger(tmp_path, 9)
    for case in book.asked(9):
        flip(book, case)
    assert len(book.counterfactuals()) == 4
    assert book.asked(9) == []


def test_the_walk_asks_for_a_group_that_may_yet_fit(tmp_path: Path) -> None:
    book = ledger(tmp_path, 5, others=2)
    assert {case.shot.id for case in book.asked(5)} == {"d/train/1", "d/train/2"}


def test_an_unanswered_case_does_not_extend_the_walk(tmp_path: Path) -> None:
    book = ledger(tmp_path, 8)
    for case in book.asked(8):
        answer(book, case, status="error")
    assert book.asked(8) == []
    assert book.counts()["unanswered"] == 4


def test_the_smallest_edit_among_the_candidates_wins(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    case = answer(book, book.asked(None)[0], "word count one", "text number one")
    assert case.counterfactual is not None
    assert case.counterfactual.text == "text number one"
    assert [attempt.status for attempt in case.attempts] == ["too-far", "accepted"]


def test_a_case_is_closed_when_its_tries_are_used_up(tmp_path: Path) -> None:
    book = ledger(tmp_path, attempts=2)
    case = book.asked(None)[0]
    assert answer(book, case, "bad one").open
    assert answer(book, case, "bad two").closed


def test_the_second_generator_takes_over_what_the_first_left_open(tmp_path: Path) -> None:
    book = ledger(tmp_path, generators=[Silent("llm"), Silent("editor")])
    case = book.asked(None)[0]
    answer(book, case, "bad")
    for other in book.asked(None):
        flip(book, other)
    assert book.asked(None) == [case]
    flip(book, case)
    assert case.counterfactual is not None
    assert case.counterfactual.generator == "editor"


def test_no_request_is_made_where_the_teacher_reads_the_shot_as_the_target(tmp_path: Path) -> None:
    book = ledger(tmp_path, chosen={"d/train/1": "a"})
    assert [case.shot.id for case in book.asked(None)] == ["d/train/2", "d/train/3", "d/train/4"]
    assert book.attempts()[0].status == "teacher-wrong"


def test_two_shots_never_share_a_counterfactual(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    for case in book.asked(None)[:2]:
        answer(book, case, "the same")
    assert len(book.counterfactuals()) == 1


def test_counts_add_up_to_the_cases(tmp_path: Path) -> None:
    book = ledger(tmp_path, 6, chosen={"d/train/1": "a"})
    open_cases = book.asked(None)
    flip(book, open_cases[0])
    answer(book, open_cases[1], "bad")
    answer(book, open_cases[2], status="error")
    counts = book.counts()
    parts = ("accepted", "not_flipped", "teacher_wrong", "unanswered", "not_asked")
    assert counts["cases"] == 6 == sum(counts[part] for part in parts)


def test_a_finished_run_asks_only_for_what_had_no_answer(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    open_cases = book.asked(None)
    flip(book, open_cases[0])
    answer(book, open_cases[1], "bad")
    for case in open_cases[2:]:
        answer(book, case, status="error")
    book.save()
    again = ledger(tmp_path)
    again.resume(finished())
    assert [case.shot.id for case in again.asked(None)] == ["d/train/3", "d/train/4"]


def test_an_unfinished_run_starts_failed_cases_again_and_keeps_accepted_ones(tmp_path: Path) -> None:
    book = ledger(tmp_path, 2)
    good, bad = book.asked(None)
    flip(book, good)
    answer(book, bad, "bad")
    book.save()
    again = ledger(tmp_path, 2)
    again.resume(finished(complete=False))
    assert [case.shot.id for case in again.asked(None)] == [bad.shot.id]


def test_a_counterfactual_that_somebody_deleted_is_not_written_again(tmp_path: Path) -> None:
    book = ledger(tmp_path, 2)
    for case in book.asked(None):
        flip(book, case)
    book.save()
    book.files.rows.path.write_text("", encoding="utf-8")
    again = ledger(tmp_path, 2)
    again.resume(finished())
    assert again.asked(None) == []
    assert again.counterfactuals() == []


def two_prompts(tmp_path: Path, n: int = 1, attempts: int = 1) -> Ledger:
    return ledger(tmp_path, n, generators=[Silent("llm", attempts, ("one@1", "two@2"))])


def flip_with(book: Ledger, case: Case, prompt: str) -> None:
    answer(book, case, f"{case.shot.text} flipped to {case.target}", prompt=prompt)


def test_every_prompt_is_tried_and_the_smallest_edit_wins(tmp_path: Path) -> None:
    book = two_prompts(tmp_path)
    [case] = book.asked(None)
    assert [writer.request().prompt for writer in case.waiting()] == ["one@1", "two@2"]
    answer(book, case, "word count one", prompt="one@1")
    assert case.open
    answer(book, case, "text number one", prompt="two@2")
    assert case.counterfactual is not None
    assert (case.counterfactual.text, case.counterfactual.prompt) == ("text number one", "two@2")
    assert [(row.n, row.writer, row.status) for row in case.attempts] == [
        (1, "one@1", "accepted"),
        (2, "two@2", "accepted"),
    ]
    assert case.attempts[0].reason == "two@2 flips with an edit that is no larger"


def test_a_prompt_that_failed_tries_again_while_the_other_is_done(tmp_path: Path) -> None:
    book = two_prompts(tmp_path, attempts=2)
    [case] = book.asked(None)
    flip_with(book, case, "one@1")
    answer(book, case, "bad", prompt="two@2")
    assert [tries.prompt for tries in book.asked(None)[0].waiting()] == ["two@2"]
    answer(book, case, "bad again", prompt="two@2")
    assert case.closed
    assert case.counterfactual is not None


def test_a_case_whose_second_prompt_got_no_answer_is_asked_again(tmp_path: Path) -> None:
    book = two_prompts(tmp_path)
    [case] = book.asked(None)
    flip_with(book, case, "one@1")
    answer(book, case, status="error", prompt="two@2")
    book.save()
    assert (book.counts()["unanswered"], book.counterfactuals()) == (1, [])
    again = two_prompts(tmp_path)
    again.resume(finished(complete=False))
    assert len(again.asked(None)) == 1


def test_a_partial_close_takes_the_best_of_the_prompts_that_did_answer(tmp_path: Path) -> None:
    book = two_prompts(tmp_path)
    [case] = book.asked(None)
    flip_with(book, case, "one@1")
    answer(book, case, status="error", prompt="two@2")
    book.accept_partial()
    assert [row.prompt for row in book.counterfactuals()] == ["one@1"]
    assert (book.counts()["accepted"], book.counts()["unanswered"]) == (1, 0)


def test_a_kill_between_two_prompts_leaves_nothing_half_decided(tmp_path: Path) -> None:
    book = two_prompts(tmp_path)
    [case] = book.asked(None)
    flip_with(book, case, "one@1")
    book.save()
    again = two_prompts(tmp_path)
    again.resume(finished(complete=False))
    assert [tries.prompt for tries in again.asked(None)[0].waiting()] == ["one@1", "two@2"]


def test_attempts_name_their_writer_only_where_there_are_several(tmp_path: Path) -> None:
    book = ledger(tmp_path, 1)
    flip(book, book.asked(None)[0])
    assert "writer" not in book.attempts()[0].model_dump()
