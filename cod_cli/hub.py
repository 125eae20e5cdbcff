"""A data set on the Hub: its rows, and how long to wait for it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from cod_cli.tabular import NumberedRow, Rows


@contextlib.contextmanager
def no_waiting(config: Any) -> Iterator[None]:
    """Use the cache alone where the Hub does not answer: the library's five retries take 25 s. Count no downloads."""
    from huggingface_hub import constants, get_session

    before = config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # the HTTP library, and so its errors, differ between versions
        config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS = before


def hub_rows(split: Any, where: str) -> Rows:
    """One split of a loaded data set as a table; ``where`` is what errors call it."""

    def read(columns: Sequence[str]) -> Iterator[NumberedRow]:
        batches = split.select_columns(list(columns)).iter(batch_size=1000)
        values = (row for batch in batches for row in zip(*(batch[name] for name in columns), strict=True))
        yield from enumerate((dict(zip(columns, row, strict=True)) for row in values), start=1)

    names = {name: feature.names for name, feature in split.features.items() if hasattr(feature, "names")}
    return Rows(where, tuple(split.column_names), read, "row", names)
