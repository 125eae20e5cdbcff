"""Loading with transformers: quietly, with its errors in our words, and with a padding token in every case."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from cod_cli.errors import CodError

_LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, SafetensorError)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and load reports off stderr."""
    untyped: Any = logging
    level, bars = untyped.get_verbosity(), untyped.is_progress_bar_enabled()
    untyped.set_verbosity_error()
    untyped.disable_progress_bar()
    try:
        yield
    finally:
        untyped.set_verbosity(level)
        if bars:
            untyped.enable_progress_bar()


def load_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model's weights in ``folder``; errors call it ``name``."""
    with quiet(), loading(name):
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    # Without its files the class makes an empty tokenizer and says nothing.
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in files):
        raise CodError(f"{name} holds no tokenizer", f"save it beside the model: one of {', '.join(sorted(files))}")
    return tokenizer


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn what transformers raises about a model or its configuration into a `CodError`."""
    try:
        yield
    except _LOAD_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CodError(
            f"{name} cannot be loaded as a text classifier: {reason}",
            "give a model of a family that transformers knows, with safetensors weights; its own code is never run",
        ) from None


def align_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give model and tokenizer one padding token: decoders often have none, and find their last token by it."""
    config = model.config.get_text_config()
    if tokenizer.pad_token is None:
        known = config.pad_token_id is not None and 0 <= config.pad_token_id < len(tokenizer)
        own = tokenizer.convert_ids_to_tokens(config.pad_token_id) if known else None
        tokenizer.pad_token = own or tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise CodError("the tokenizer has neither a padding token nor one that could serve", "add a pad_token to it")
    config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    if hasattr(config, "use_cache"):
        config.use_cache = False
