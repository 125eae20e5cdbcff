"""Which texts an LLM is asked for: class, shots to look at, topic, length and number of each request.

The seed alone decides: the requests for fewer texts are the first ones of those for more, so that a later and larger
pool goes on from the replies that are there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cod_cli.counterfactuals.edits import words
from cod_cli.data.draw import Draws, shuffled
from cod_cli.llm.prices import tokens_in
from cod_cli.llm.prompts import Wish
from cod_cli.records import Shot

# Texts in a request: more share the price of the shots that it shows, and small models lose count of more.
_MOST_TEXTS = 6
_SHOWN, _OTHERS = 3, 1
_SEED_WORDS = 2
# Shorter words are mostly grammar, and so are those that stand in a quarter of the shots.
_LETTERS = 5
_COMMON = 0.25
# A reply may be so much longer than asked for before it is cut off.
_ROOM = 0.6
# Tokens of an entry's number and line end.
_MARK = 4


@dataclass(frozen=True)
class Plan:
    """All requests that may be made, numbered from 1.

    Args:
        shots: of the run.
        labels: its classes in order.
        seed: what the draws hang on.
        max_tokens: of a reply; long texts are asked for fewer at a time.
    """

    shots: Sequence[Shot]
    labels: Sequence[str]
    seed: int
    max_tokens: int

    @cached_property
    def texts_each(self) -> int:
        """How many texts are asked for in each request."""
        tokens = max(tokens_in(shot.text) + _MARK for shot in self.shots)
        return max(1, min(_MOST_TEXTS, int(_ROOM * self.max_tokens / tokens)))

    def wish(self, number: int) -> Wish:
        """What the request of that number asks for."""
        draws = Draws(f"pool {self.seed} {number}")
        order = shuffled(self.labels, f"pool {self.seed}")
        label = order[(number - 1) % len(order)]
        own = [shot.text for shot in self.shots if shot.label == label]
        others = [shot.text for shot in self.shots if shot.label != label]
        lengths = [len(words(text)) for text in own or others]
        return Wish(
            label=label,
            shots=tuple(draws.sample(own, min(_SHOWN, len(own)))),
            others=tuple(draws.sample(others, min(_OTHERS, len(others)))),
            topic=", ".join(draws.sample(self._lexicon, min(_SEED_WORDS, len(self._lexicon)))),
            length=max(1, draws.choice(lengths)),
            n=self.texts_each,
        )

    @cached_property
    def _lexicon(self) -> list[str]:
        """The words of the shots that a text may be about, sorted."""
        found = Counter(word for shot in self.shots for word in {word.casefold() for word in words(shot.text)})
        most = max(1, _COMMON * len(self.shots))
        telling = sorted(word for word, n in found.items() if len(word) >= _LETTERS and n <= most)
        return telling or sorted(found)
