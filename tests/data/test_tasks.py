import pytest

from cod_cli.data.tasks import TASKS, prompt_family, task_named
from cod_cli.errors import UsageError


@pytest.mark.parametrize(
    ("name", "labels", "eval_split"),
    [
        ("sst2", ("negative", "positive"), "validation"),
        ("cola", ("unacceptable", "acceptable"), "validation"),
        ("imdb", ("negative", "positive"), "test"),
        ("yelp", ("negative", "positive"), "test"),
        ("amazon", ("negative", "positive"), "test"),
        ("sentiment140", ("negative", "positive"), "test"),
        ("sst5", ("very negative", "negative", "neutral", "positive", "very positive"), "test"),
    ],
)
def test_a_task_names_its_classes_and_the_split_to_score_on(name: str, labels: tuple[str, ...], eval_split: str):
    task = task_named(name)
    assert (task.labels, task.eval_split) == (labels, eval_split)


def test_yelp_stars_are_stored_from_zero_and_three_of_them_are_neither_class():
    task = TASKS["yelp"]
    named = {stars: task.raw_labels.get(stars - 1) for stars in (1, 2, 3, 4, 5)}
    assert named == {1: "negative", 2: "negative", 3: None, 4: "positive", 5: "positive"}
    assert task.left_out == {3 - 1}


def test_every_raw_label_is_named_or_left_out_but_not_both():
    assert any(task.left_out for task in TASKS.values())
    assert all(not task.raw_labels.keys() & task.left_out for task in TASKS.values())


def test_an_unknown_task_lists_those_there_are_and_the_other_ways_to_name_data():
    with pytest.raises(UsageError) as caught:
        task_named("sst-2")
    assert "did you mean sst2?" in caught.value.message
    hint = str(caught.value.hint)
    assert all(part in hint for part in (*TASKS, "org/name", "org/name:config", "./folder"))


@pytest.mark.parametrize(
    ("labels", "family"),
    [
        (("negative", "positive"), "sentiment"),
        (("Positive", "Negative"), "sentiment"),
        (("negative", "neutral", "positive"), "sentiment"),
        (TASKS["sst5"].labels, "sentiment"),
        (("acceptable", "unacceptable"), "acceptability"),
        (("negative", "acceptable"), "generic"),
        (("world", "sports"), "generic"),
        (("positive",), "generic"),
        ((), "generic"),
    ],
)
def test_prompts_are_chosen_by_the_names_of_the_classes(labels: tuple[str, ...], family: str):
    assert prompt_family(labels) == family


def test_the_family_of_a_task_is_that_of_its_classes():
    assert {task.family == prompt_family(task.labels) for task in TASKS.values()} == {True}
