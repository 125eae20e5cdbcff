"""Tiny real models, built in code and saved as ordinary folders that the Auto classes load: no network, no downloads.

Their tokenizers know the words of the texts they are built from, and single characters for the rest.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaTokenizer,
)

from cod_cli.models.load import Classifier, load_backbone

Family = Literal["bert", "distilbert", "deberta", "roberta", "modernbert", "qwen2"]

# A language in which one word decides the class, so that exchanging that word is the least edit that flips it.
LANGUAGE = {
    "negative": ("bad", "awful", "dull", "weak", "boring", "poor", "stupid", "ugly"),
    "positive": ("good", "great", "clever", "strong", "funny", "fine", "smart", "lovely"),
    "neutral": ("long", "short", "new", "old", "french", "quiet", "loud", "recent"),
}
_TEMPLATES = (
    "the film is {} .",
    "a {} story about two friends .",
    "i found the whole thing {} and told my sister so .",
    "its plot is {} , like the one that this director made before .",
    "{} acting .",
    "what a {} evening we had at the cinema !",
    "the music , the light and the cast are {} .",
    "she wrote a {} book about it .",
)


def sentences(n: int, labels: Sequence[str] = ("negative", "positive"), seed: int = 0) -> list[tuple[str, str]]:
    """``n`` pairs of a text and its label, classes in turn, in the language above."""
    rng = random.Random(seed)
    names = [labels[i % len(labels)] for i in range(n)]
    return [(rng.choice(_TEMPLATES).format(rng.choice(LANGUAGE[name])), name) for name in names]


def vocabulary() -> list[str]:
    """Texts that hold every word of the language."""
    words = [word for group in LANGUAGE.values() for word in group]
    return [template.format(word) for word in words for template in _TEMPLATES]


def tiny_classifier(
    folder: Path | str,
    texts: Sequence[str] | None = None,
    labels: Sequence[str] = ("negative", "positive"),
    *,
    family: Family = "bert",
    layers: int = 2,
    hidden: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Save a classifier with random weights; its tokenizer knows the words of ``texts`` (default: the language's)."""
    tokenizer = tiny_tokenizer(texts or vocabulary(), family)
    config = tiny_config(tokenizer, family=family, layers=layers, hidden=hidden)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    return _save(folder, AutoModelForSequenceClassification, config, tokenizer, seed, dtype)


def tiny_base(
    folder: Path | str,
    texts: Sequence[str] | None = None,
    *,
    family: Family = "bert",
    layers: int = 2,
    hidden: int = 32,
    seed: int = 0,
) -> Path:
    """Save a model without a head, as a pretrained student to start from."""
    tokenizer = tiny_tokenizer(texts or vocabulary(), family)
    config = tiny_config(tokenizer, family=family, layers=layers, hidden=hidden)
    return _save(folder, AutoModel, config, tokenizer, seed, torch.float32)


def tiny_masked_lm(
    folder: Path | str,
    texts: Sequence[str] | None = None,
    *,
    family: Family = "bert",
    likely: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Path:
    """Save a masked language model with random weights; ``likely`` is added to the logits of words, everywhere."""
    tokenizer = tiny_tokenizer(texts or vocabulary(), family)
    folder = _save(folder, AutoModelForMaskedLM, tiny_config(tokenizer, family=family), tokenizer, seed, torch.float32)
    if likely:
        model = AutoModelForMaskedLM.from_pretrained(folder)
        with torch.no_grad():
            for word, logit in likely.items():
                model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(word)] += logit
        model.save_pretrained(folder)
    return folder


def trained_teacher(
    folder: Path | str,
    labels: Sequence[str] = ("negative", "positive"),
    *,
    family: Family = "bert",
    layers: int = 2,
    hidden: int = 32,
    seed: int = 0,
    steps: int = 60,
) -> Path:
    """Save a classifier that was trained on the language until it is confidently right; about a second."""
    folder = tiny_classifier(folder, labels=labels, family=family, layers=layers, hidden=hidden, seed=seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = tiny_tokenizer(vocabulary(), family)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    rows = sentences(32 * steps, labels, seed)
    # Dropout stays off and the generator is not touched: the same weights on every call.
    optimizer = torch.optim.AdamW(model.eval().parameters(), lr=5e-3)
    for start in range(0, len(rows), 32):
        texts, names = zip(*rows[start : start + 32], strict=True)
        batch = tokenizer(list(texts), padding=True, return_tensors="pt")
        loss = model(**batch, labels=torch.tensor([list(labels).index(name) for name in names])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def load_student(
    folder: Path | str, labels: Sequence[str], *, layers: int | None = None, seed: int = 0, device: str = "cpu"
) -> Classifier:
    """A student drawn from a model folder, as `distill` draws one for each seed."""
    return load_backbone(str(folder), labels, layers=layers).student(seed=seed, device=device)


def tiny_tokenizer(texts: Sequence[str], family: Family = "bert") -> PreTrainedTokenizerBase:
    """WordPiece, Unigram (SentencePiece) or byte-level BPE, as the family has it."""
    if family in ("bert", "distilbert"):
        return BertTokenizer(vocab=_wordpieces(texts), model_max_length=128)
    if family == "deberta":
        return DebertaV2Tokenizer(vocab=_unigrams(texts), unk_id=3, model_max_length=128)
    if family == "qwen2":
        vocab, merges = _byte_pairs(texts, ["<|endoftext|>"])
        return Qwen2Tokenizer(vocab=vocab, merges=merges, pad_token=None, model_max_length=128)
    vocab, merges = _byte_pairs(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=128)


def tiny_config(
    tokenizer: PreTrainedTokenizerBase, *, family: Family = "bert", layers: int = 2, hidden: int = 32
) -> PreTrainedConfig:
    """A configuration of the family with two attention heads."""
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 130,
        # Wider than the usual 0.02, so that different texts get clearly different logits.
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if family == "deberta":
        # As DeBERTa-v3 is configured.
        v3 = {"relative_attention": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}
        return DebertaV2Config(
            **shape, **v3, pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0
        )
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=len(tokenizer),
            dim=hidden,
            n_layers=layers,
            n_heads=2,
            hidden_dim=2 * hidden,
            initializer_range=0.1,
            pad_token_id=0,
        )
    if family == "qwen2":
        return Qwen2Config(**shape, num_key_value_heads=1)
    if family == "modernbert":
        return ModernBertConfig(**shape, cls_token_id=0, sep_token_id=2)
    return {"bert": BertConfig, "roberta": RobertaConfig}[family](**shape)


def _save(
    folder: Path | str,
    auto: type[Any],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    dtype: torch.dtype,
) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = auto.from_config(config)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _words_and_characters(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    splitter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text.lower())}
    characters = set("abcdefghijklmnopqrstuvwxyz0123456789'.,!?-") | set("".join(words))
    return sorted(words - characters), sorted(characters)


def _wordpieces(texts: Sequence[str]) -> dict[str, int]:
    words, characters = _words_and_characters(texts)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += characters + ["##" + character for character in characters] + words
    return {piece: index for index, piece in enumerate(pieces)}


def _unigrams(texts: Sequence[str]) -> list[tuple[str, float]]:
    words, characters = _words_and_characters(texts)
    pieces = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
    pieces += [("▁", -4.0)] + [(character, -10.0) for character in characters]
    pieces += [("▁" + word, -3.0) for word in words + characters]
    return [*pieces, ("[MASK]", 0.0)]


def _byte_pairs(texts: Sequence[str], special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges that build every word, with and without the space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        vocab_size=5000,
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
