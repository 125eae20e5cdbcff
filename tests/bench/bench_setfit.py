"""SetFit (Tunstall et al. 2022, arXiv 2209.11055) on the shots of runs: what a user would try first, without a teacher.

The package `setfit` is no dependency: it wants an older transformers, so it has an environment of its own, and this
script imports nothing of the project.

python -m venv setfit-env && setfit-env/bin/pip install torch setfit "transformers<5"
setfit-env/bin/python tests/bench/bench_setfit.py --model DIR --test FILE.jsonl RUN [RUN ...]
"""

import argparse
import copy
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, models
from setfit import SetFitModel, Trainer, TrainingArguments
from sklearn.linear_model import LogisticRegression
from transformers import set_seed

# SetFit's own defaults beside the length: pairs of each sort for a shot, one epoch, batches of 16.
PAIRS, EPOCHS, BATCH_SIZE, MAX_LENGTH = 20, 1, 16, 64
CUT_TO = 3


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a JSONL file with ``text`` and ``label``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def body_of(folder: str, layers: int | None) -> SentenceTransformer:
    """The encoder under mean pooling: whole, or so many of its layers, spaced as `cod distill` spaces them."""
    encoder = models.Transformer(folder, max_seq_length=MAX_LENGTH)
    if layers is not None:
        config, stack = encoder.auto_model.config, encoder.auto_model.encoder
        depth = config.num_hidden_layers
        stack.layer = torch.nn.ModuleList(stack.layer[(i + 1) * depth // layers - 1] for i in range(layers))
        config.num_hidden_layers = layers
    pooling = models.Pooling(encoder.get_word_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[encoder, pooling], device="cpu")


def accuracy(
    body: SentenceTransformer, shots: Sequence[dict[str, str]], test: Sequence[dict[str, str]], seed: int
) -> float:
    """That of a SetFit model trained on the shots."""
    set_seed(seed)
    model = SetFitModel(model_body=copy.deepcopy(body), model_head=LogisticRegression())
    options: dict[str, Any] = {"num_iterations": PAIRS, "num_epochs": EPOCHS, "batch_size": BATCH_SIZE, "seed": seed}
    quiet = {"report_to": "none", "save_strategy": "no", "output_dir": "setfit-checkpoints"}
    rows = Dataset.from_list([{"text": row["text"], "label": row["label"]} for row in shots])
    Trainer(model, args=TrainingArguments(**options, **quiet), train_dataset=rows).train()
    chosen = model.predict([row["text"] for row in test], use_labels=False)
    return sum(str(said) == row["label"] for said, row in zip(chosen, test, strict=True)) / len(test)


def main() -> None:
    """Print each run's accuracy, then mean and sample std, for the whole body and for a part of its layers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the sentence encoder")
    parser.add_argument("--test", required=True, type=Path, help="rows to score on: JSONL with text and label")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders with 1-shots.jsonl and its manifest")
    options = parser.parse_args()
    test = read_rows(options.test)
    for layers in (None, CUT_TO):
        body, reached = body_of(options.model, layers), []
        for run in options.runs:
            seed = json.loads((run / "1-shots.meta.json").read_text(encoding="utf-8"))["seed"]
            shots = read_rows(run / "1-shots.jsonl")
            reached.append(accuracy(body, shots, test, seed))
            print(f"{run}: {len(shots)} shots, {layers or 'all'} layers: {reached[-1]:.1%}", flush=True)
        std = f" ± {statistics.stdev(reached):.1%}" if len(reached) > 1 else ""
        print(f"{layers or 'all'} layers: {statistics.mean(reached):.1%}{std} (n = {len(reached)})", flush=True)


if __name__ == "__main__":
    main()
