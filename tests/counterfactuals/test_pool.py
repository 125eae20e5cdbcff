"""Real texts as a rival: whose class they are given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cod_cli.counterfactuals.rivals import pool_rows
from cod_cli.data.source import Row


class Optimist:
    """A teacher that takes everything for positive."""

    name, fingerprint, source = "optimist", "0" * 16, "logits"
    cheap = True
    labels = ("negative", "positive")

    def logits(self, texts: Sequence[str], **_: object) -> npt.NDArray[np.float32]:
        return np.tile(np.array([[0.0, 1.0]], dtype=np.float32), (len(texts), 1))


def test_texts_of_the_pool_have_the_class_that_the_teacher_chooses() -> None:
    rows = [Row("d/train/1", "a dull film", "negative"), Row("d/train/2", "a fine film", "positive")]
    made = pool_rows(rows, ["negative", "positive"], Optimist(), "pool")
    assert [(row.id, row.text, row.label) for row in made] == [
        ("d/train/1", "a dull film", "positive"),
        ("d/train/2", "a fine film", "positive"),
    ]
