from typing import Any

import pytest

from cod_cli.counterfactuals import quality
from cod_cli.counterfactuals.quality import Work, edit_of, is_negation_only, measure
from cod_cli.llm.prices import Price
from cod_cli.records import Attempt, Counterfactual, Reply, Shot


def shot(name: str, text: str = "a good film", label: str = "positive") -> Shot:
    return Shot(id=f"d/train/{name}", text=text, label=label)


def cfe(of: Shot, text: str = "a bad film", label: str = "negative", **changes: Any) -> Counterfactual:
    fields = {
        "id": f"{of.id}~{label}",
        "shot_id": of.id,
        "text": text,
        "label": label,
        "source_label": of.label,
        "kind": "cfe",
        "generator": "openai:m",
        "prompt": "sentiment@1",
        "flipped": True,
        "p_before": 0.1,
        "p_after": 0.9,
        "edit_ratio": 0.33,
        "n_edits": 1,
        "minimal": True,
        "attempts": 1,
    }
    return Counterfactual(**fields | changes)


def attempt(of: Shot, status: str, n: int = 1, target: str = "negative", writer: str | None = None) -> Attempt:
    return Attempt(shot_id=of.id, target=target, n=n, text="x", status=status, reason=None, writer=writer)


def reply(of: Shot, prompt: int, completion: int, sample: int = 1, target: str = "negative") -> Reply:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return Reply(
        key=f"{of.id}{sample}",
        shot_id=of.id,
        target=target,
        sample=sample,
        text="x",
        finish_reason="stop",
        model="m",
        usage=usage,
        latency_s=0.1,
    )


A, B, C, D, E = (shot(name) for name in "12345")
# A flips at once, B at its second answer, C never; D is the teacher's own mistake, E has no answer yet.
WORK = Work(
    shots=[A, B, C, D, E],
    cfes=[cfe(A), cfe(B, attempts=2)],
    attempts=[
        attempt(A, "accepted"),
        attempt(B, "unchanged"),
        attempt(B, "accepted", n=2),
        attempt(C, "no-flip"),
        attempt(C, "unchanged", n=2),
        attempt(C, "too-far", n=3),
        attempt(D, "teacher-wrong", n=0),
        attempt(E, "error"),
    ],
    replies=[reply(A, 10, 5), reply(B, 10, 5), reply(B, 20, 5, sample=2), reply(C, 10, 5)],
    price=Price(prompt=1e4, completion=1e4),
)


def test_every_request_is_counted_once() -> None:
    found = measure(WORK)
    assert (found.requests, found.accepted, found.teacher_wrong, found.unanswered) == (5, 2, 1, 1)


def test_flip_rates_are_over_the_answered_requests() -> None:
    found = measure(WORK)
    assert found.first_flip_rate == pytest.approx(1 / 3)
    assert found.flip_rate == pytest.approx(2 / 3)


def test_effort_is_given_per_accepted_cfe() -> None:
    found = measure(WORK)
    assert found.attempts_per_accepted == 6 / 2
    assert found.tokens_per_accepted == 70 / 2
    # 70 tokens at 0.01 each, over 2 CFEs.
    assert found.cost_per_accepted == pytest.approx(0.35)


def test_unchanged_is_a_share_of_all_answers() -> None:
    assert measure(WORK).unchanged == pytest.approx(2 / 6)


def test_edit_ratios_are_measured_on_the_texts_as_they_stand() -> None:
    source = shot("1", "one two three four")
    mended = cfe(source, "one two three five", edit_ratio=1.0)
    assert measure(Work([source], [mended])).edit_ratio_mean == 0.25


def test_the_mean_and_the_90th_percentile_of_edit_ratios_are_given() -> None:
    shots = [shot(str(n), "a b c d e f g h i j") for n in range(11)]
    # Ratios 0.1 … 1.0 and 0.1 once more: sorted, the 90th percentile of 11 values is the tenth.
    cfes = [cfe(s, " ".join(["x"] * max(n, 1) + list("abcdefghij")[max(n, 1) :])) for n, s in enumerate(shots)]
    found = measure(Work(shots, cfes))
    assert found.edit_ratio_mean == pytest.approx((5.5 + 0.1) / 11)
    assert found.edit_ratio_p90 == pytest.approx(0.9)


def test_the_edit_of_a_second_round_is_measured_from_its_parent() -> None:
    source = shot("1", "a good film")
    first = cfe(source, "a bad film")
    second = cfe(source, "a bad plot", "positive", id=f"{first.id}~positive", parent_id=first.id)
    assert measure(Work([source], [first, second])).edit_ratio_mean == pytest.approx(1 / 3)


def test_without_a_teacher_flip_rates_are_not_known() -> None:
    found = measure(Work([A], [cfe(A, flipped=None, p_before=None, p_after=None)], [attempt(A, "accepted")]))
    assert found.flip_rate is None
    assert found.first_flip_rate is None
    assert found.accepted == 1


def test_a_cfe_that_does_not_flip_is_no_flip() -> None:
    found = measure(Work([A, B], [cfe(A, flipped=False), cfe(B)], [attempt(A, "accepted"), attempt(B, "accepted")]))
    assert found.flip_rate == 0.5
    assert found.first_flip_rate == 0.5


def test_without_an_llm_tokens_and_cost_are_not_known() -> None:
    found = measure(Work([A], [cfe(A, prompt=None)], [attempt(A, "accepted")]))
    assert found.tokens_per_accepted is None
    assert found.cost_per_accepted is None


def test_an_empty_run_has_no_rates() -> None:
    found = measure(Work([A], []))
    assert (found.requests, found.flip_rate, found.edit_ratio_p90, found.distinct_edits) == (0, None, None, None)


def test_the_report_breaks_down_by_target_class() -> None:
    other = shot("6", "a bad film", "negative")
    found = quality.report(
        Work(
            [A, B, other],
            [cfe(A), cfe(other, "a good film", "positive")],
            [attempt(A, "accepted"), attempt(B, "no-flip"), attempt(other, "accepted", target="positive")],
            [reply(A, 1, 1), reply(B, 1, 1), reply(other, 3, 4, target="positive")],
        )
    )
    assert {name: part.flip_rate for name, part in found.by_class.items()} == {"negative": 0.5, "positive": 1.0}
    assert {name: part.tokens_per_accepted for name, part in found.by_class.items()} == {"negative": 4, "positive": 7}
    assert sum(part.requests for part in found.by_class.values()) == found.overall.requests == 3


def test_requests_without_a_cfe_count_for_the_prompt_that_all_cfes_share() -> None:
    found = quality.report(WORK)
    assert list(found.by_prompt) == ["sentiment@1"]
    assert found.by_prompt["sentiment@1"].requests == 5


def test_the_report_breaks_down_by_prompt() -> None:
    one, two = "sentiment@1", "topic@2"
    lost = attempt(A, "accepted", 3).replace(text="a a a")
    found = quality.report(
        Work(
            [A, B],
            [cfe(A), cfe(B, prompt=two)],
            # On A both flip, the second with a larger edit; on B the first fails.
            [
                attempt(A, "accepted", writer=one),
                attempt(A, "unchanged", 2, writer=two),
                lost.replace(writer=two),
                attempt(B, "no-flip", writer=one),
                attempt(B, "accepted", 2, writer=two).replace(text="a bad film"),
            ],
            [reply(A, 10, 5).replace(prompt=one), reply(A, 20, 5).replace(prompt=two)],
            Price(prompt=1e6, completion=0),
        )
    )
    first, second = found.by_prompt[one], found.by_prompt[two]
    assert (first.requests, first.accepted, first.flip_rate, first.first_flip_rate) == (2, 1, 0.5, 0.5)
    assert (second.requests, second.accepted, second.flip_rate, second.first_flip_rate) == (2, 2, 1.0, 0.5)
    assert (first.edit_ratio_mean, second.edit_ratio_mean) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert (first.cost_per_accepted, second.cost_per_accepted) == (10, 10)
    assert (found.overall.accepted, found.overall.edit_ratio_mean) == (2, pytest.approx(1 / 3))


def test_a_fallback_is_told_from_the_prompt_whose_work_it_finishes() -> None:
    written = cfe(B, prompt=None, generator="editor")
    tries = [
        attempt(A, "accepted", writer="sentiment@1"),
        attempt(B, "no-flip", writer="sentiment@1"),
        attempt(B, "accepted", 2, writer="editor"),
    ]
    found = quality.report(Work([A, B], [cfe(A), written], tries)).by_prompt
    assert {name: (part.requests, part.flip_rate) for name, part in found.items()} == {
        "sentiment@1": (2, 0.5),
        "editor": (1, 1.0),
    }


def test_agreement_of_the_judge_is_a_share_of_what_it_has_judged() -> None:
    rows = [cfe(A, judge="negative"), cfe(B, judge="positive"), cfe(C)]
    assert measure(Work([A, B, C], rows)).judge_agrees == 0.5


def test_the_same_exchange_in_two_texts_is_one_distinct_edit() -> None:
    long = shot("2", "what a Good story")
    assert edit_of(A.text, "a bad film") == edit_of(long.text, "what a bad story") == ((("good",), ("bad",)),)
    assert measure(Work([A, long], [cfe(A), cfe(long, "what a bad story")])).distinct_edits == 0.5


def test_the_same_words_split_over_other_spans_are_another_edit() -> None:
    assert edit_of("a b c", "x b y") == ((("a",), ("x",)), (("c",), ("y",)))
    assert edit_of("a c b", "x y b") == ((("a", "c"), ("x", "y")),)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("the film is good", "the film is not good"),
        ("the film isn't good", "the film is good"),
        ("I like it", "I do not like it"),
        ("I like it", "I don’t like it"),
        ("they will win", "they won't win"),
        ("they can win", "they cannot win"),
        ("it always works", "it always never works"),
        ("a film with no plot", "a film with plot"),
    ],
)
def test_an_edit_of_negations_alone_is_told(source: str, target: str) -> None:
    assert is_negation_only(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("the film is good", "the film is bad"),
        ("the film is good", "the film is not bad"),
        ("I do like it", "I like it"),
        ("it is not good", "it is not good !"),
        ("now it works", "not it works"),
    ],
)
def test_an_edit_that_changes_anything_else_is_not_negation_only(source: str, target: str) -> None:
    assert not is_negation_only(source, target)


def test_the_share_of_negation_only_edits_is_of_the_accepted() -> None:
    found = measure(Work([A, B], [cfe(A, "a not good film"), cfe(B)]))
    assert found.negation_only == 0.5


def test_a_cfe_whose_shot_was_deleted_is_counted_but_not_measured() -> None:
    found = measure(Work([A], [cfe(A, "a bad film"), cfe(B)]))
    assert found.accepted == 2
    assert found.edit_ratio_mean == pytest.approx(1 / 3)
