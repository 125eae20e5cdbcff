"""Shots, a plan and an LLM on loopback that writes texts of a class; for tests of the writer and of the stage."""

import itertools
import re
from collections.abc import Callable

from cod_cli.records import Shot
from tests.llm.fake_llm import Body
from tests.models.tiny import sentences

LABELS = ["negative", "positive"]
SHOTS = [Shot(id=f"d/train/{n}", text=text, label=label) for n, (text, label) in enumerate(sentences(8), 1)]
_PLACES = [
    "town",
    "shore",
    "lake",
    "river",
    "hill",
    "school",
    "market",
    "station",
    "garden",
    "harbour",
    "bridge",
    "tower",
]
_GUESTS = [
    "sailor",
    "baker",
    "teacher",
    "painter",
    "farmer",
    "doctor",
    "singer",
    "builder",
    "lawyer",
    "writer",
    "tailor",
    "miller",
]
_TIMES = [
    "dawn",
    "noon",
    "dusk",
    "night",
    "spring",
    "summer",
    "autumn",
    "winter",
    "easter",
    "christmas",
    "lunch",
    "breakfast",
]


def class_in(body: Body) -> str:
    """The class that a request asks for."""
    return re.findall(r'more texts that are "(\w+)"', body["messages"][-1]["content"])[0]


def writer_of_new_texts(each: int = 6) -> Callable[[Body], str]:
    """An LLM that never writes the same twice, whatever it is asked; ``each`` texts a reply."""
    combinations = itertools.product(_PLACES, _GUESTS, _TIMES)
    stream = (f"near the {place} we met one {guest} before {time} came" for place, guest, time in combinations)

    def write(body: Body) -> str:
        word = {"negative": "awful", "positive": "lovely"}[class_in(body)]
        return "\n".join(f"{n}. {next(stream)} , {word} !" for n in range(1, each + 1))

    return write
