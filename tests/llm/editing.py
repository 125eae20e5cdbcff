"""What a good LLM answers in a prompt's place: the text it is asked about, with the words that decide exchanged."""

import re

from tests.llm.fake_llm import Body
from tests.models.tiny import LANGUAGE

OPPOSITE = {
    word: LANGUAGE[other][place]
    for name, other in (("negative", "positive"), ("positive", "negative"))
    for place, word in enumerate(LANGUAGE[name])
}


def text_in(body: Body) -> str:
    """The text that a request asks about: the last one between its marks, after the examples."""
    return re.findall(r"<text>\s*(.*?)\s*</text>", body["messages"][-1]["content"], re.DOTALL)[-1]


def edit(body: Body) -> str:
    """What a good LLM does: exchange the one word that decides, whatever was asked before."""
    return " ".join(OPPOSITE.get(word, word) for word in text_in(body).split())
