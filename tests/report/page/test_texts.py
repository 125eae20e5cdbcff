"""The pairs on the page: what changed is marked, and every word is there."""

import numpy as np
import pytest

from cod_cli.report.page.markup import join
from cod_cli.report.page.pairs import Exhibit, margin, mark, pairs
from tests.records_of import counterfactual
from tests.report.page.page_of import Node, read_page

PAIRS = [
    ("a dull film", "a fine film"),
    ("dull", "not dull at all"),
    ("dramatically lackluster", "remarkable desire"),
    ("it is not bad", "it is bad"),
    ("bad from the start", "good from the end"),
    ("the same", "the same"),
    ("لا أحب هذا", "أحب هذا كثيرا"),
    ("不好看", "很好看"),
    ('<b>bad</b> & "worse"', '<b>good</b> & "better"'),
    ("first line\nbad", "first line\ngood"),
]


def shown(source: str, target: str) -> Node:
    return read_page(join(*mark(source, target)))


def without(node: Node, tag: str) -> str:
    return "".join(
        child if isinstance(child, str) else without(child, tag)
        for child in node.children
        if isinstance(child, str) or child.tag != tag
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_without_what_was_taken_out_the_target_is_left_and_the_other_way_round(source: str, target: str) -> None:
    both = shown(source, target)
    assert without(both, "del").split() == target.split()
    assert without(both, "ins").split() == source.split()


def test_only_the_changed_words_are_marked() -> None:
    both = shown("a dull film", "a fine film")
    assert ([node.text for node in both.all("del")], [node.text for node in both.all("ins")]) == (["dull"], ["fine"])


def test_lines_stay_lines() -> None:
    assert "\n" in shown("first line\nbad", "first line\ngood").text


@pytest.mark.parametrize(("flipped", "said"), [(True, False), (None, False), (False, True)])
def test_a_pair_that_does_not_flip_the_teacher_says_so(flipped: bool | None, said: bool) -> None:
    cfe = counterfactual("sst2/train/1", "a fine film", flipped=flipped)
    shown = pairs([Exhibit("sst2", ((cfe, "a dull film"),), None, {})])
    assert ("does not flip the teacher" in read_page(join(*shown)).text) is said


def test_a_margin_is_that_of_the_two_likeliest_classes() -> None:
    assert margin(np.log([0.1, 0.6, 0.3]).tolist()) == pytest.approx(0.3)
