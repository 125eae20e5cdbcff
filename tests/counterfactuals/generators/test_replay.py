"""Replies on disk, given once more."""

from cod_cli.counterfactuals.generators.base import EditRequest
from cod_cli.counterfactuals.generators.replay import Replay
from cod_cli.records import Reply, Shot

SHOT = Shot(id="d/train/1", text="the film is bad .", label="negative")


def reply(key: str, text: str, sample: int = 1, finish: str = "stop") -> Reply:
    return Reply(
        key=key,
        shot_id=SHOT.id,
        target="positive",
        sample=sample,
        text=text,
        finish_reason=finish,
        model="m",
        usage=None,
        latency_s=0.1,
    )


def texts(replay: Replay, attempt: int) -> tuple[str, ...]:
    [proposal] = replay.propose([EditRequest(SHOT, "positive", attempt)])
    return proposal.texts


def test_each_try_gets_the_first_choice_of_its_request() -> None:
    replay = Replay([reply("a", "the film is good ."), reply("a", "other"), reply("b", "the film is fine .", 2)])
    assert (texts(replay, 1), texts(replay, 2)) == (("the film is good .",), ("the film is fine .",))
    assert replay.max_attempts == 2


def test_what_stands_around_a_text_comes_off_as_it_did_then() -> None:
    assert texts(Replay([reply("a", "Sure: <text>the film is good .</text>")]), 1) == ("the film is good .",)


def test_a_reply_that_held_no_text_is_one_with_a_reason() -> None:
    [proposal] = Replay([reply("a", "the film", finish="length")]).propose([EditRequest(SHOT, "positive", 1)])
    assert (proposal.texts, proposal.status) == ((), "truncated")


def test_a_shot_that_was_not_asked_for_gets_nothing() -> None:
    [proposal] = Replay([]).propose([EditRequest(SHOT, "positive", 1)])
    assert (proposal.texts, proposal.status) == ((), "empty")
