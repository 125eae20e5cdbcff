"""Shots, a plan and an LLM on loopback that writes texts of a class; for tests of the writer and of the stage."""

import itertools
import re
from collections.abc import Callable

from cod_cli.records import Shot
from tests.llm.fake_llm import Body
from tests.models.tiny import sentences

LABELS = ["negative", "positive"]
SHOTS = [Shot(id=f"d/train/{n}", text=text, label=label) for n, (text, label) in enumerate(sentences(8), 1)]


def class_in(body: Body) -> str:
    """The class that a request asks for."""
    return re.findall(r'more texts that are "(\w+)"', body["messages"][-1]["content"])[0]


def writer_of_new_texts(each: int = 6) -> Callable[[Body], str]:
    """An LLM that never writes the same twice, nor nearly, whatever it is asked; ``each`` texts a reply."""
    numbers = itertools.count(1)

    def write(body: Body) -> str:
        word = {"negative": "awful", "positive": "lovely"}[class_in(body)]
        texts = (f"{n * 7919 % 10007} {n * 104729 % 100003} {n * n} {word} !" for n in numbers)
        return "\n".join(f"{place}. {text}" for place, text in enumerate(itertools.islice(texts, each), 1))

    return write
