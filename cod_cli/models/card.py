"""Model cards: what a model folder says about itself on the Hub and to whoever opens it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from huggingface_hub import ModelCard, ModelCardData

from cod_cli.models.exported import GRAPHS
from cod_cli.records import Export, ExportCheck, Score, Student, TeacherOrigin

T = TypeVar("T")

_USE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH/TO/THIS/FOLDER")
print(classify("A text to classify."))
```"""


def student_card(student: Student) -> ModelCard:
    """The card of a distilled student."""
    facts = _made(student)
    intro = (
        "A small text classifier, distilled from a larger one with a few labelled examples by `cod` "
        "(counterfactual-explanation-infused distillation, arXiv 2510.21631)."
    )
    return _card(student.name, intro, student.labels, facts, ["knowledge-distillation", "few-shot"])


def teacher_card(name: str, teacher: TeacherOrigin) -> ModelCard:
    """The card of a classifier that `cod teach` fine-tuned."""
    facts = {
        "trained on": f"{teacher.rows:,} rows of {teacher.source}, split {teacher.split}",
        "steps": teacher.steps,
        "started from": public_name(teacher.settings["model"]),
        **_texts(teacher.settings.get("text_column"), teacher.settings.get("max_length")),
        "parameters": f"{teacher.parameters:,}",
    }
    if teacher.validation:
        facts["accuracy on the validation split"] = _reached(teacher)
    intro = "A text classifier, fine-tuned by `cod teach`, for instance as a teacher of small students."
    return _card(name, intro, teacher.labels, facts, [])


def export_card(
    export: Export, check: ExportCheck, student: Student | None = None, scores: Sequence[Score] = ()
) -> ModelCard:
    """The card of an exported classifier: what it was made of, how the two compare, and how good the model is.

    Args:
        export: how it was made.
        check: the comparison.
        student: how the model was made, where it is a student of a run.
        scores: those of its run.
    """
    facts: dict[str, object] = {
        "made of": f"{export.name} (fingerprint {export.model})",
        "precision": export.precision,
        "equal labels": f"{check.equal_labels:.1%} of {check.texts:,} {check.of}",
        "largest difference of a logit": f"{check.largest_difference:.2g}",
        "size": _both(check.bytes, lambda size: f"{size / 1e6:,.1f} MB"),
        f"rows a second ({check.machine}, {check.threads} threads)": _both(
            check.rows_per_second, lambda rows: f"{rows:,.0f}"
        ),
        "longest text": f"{export.max_length} tokens",
    }
    if check.accuracy:
        facts["accuracy there"] = _both(check.accuracy, lambda share: f"{share:.1%}")
    if export.text_columns:
        facts["columns of a text"] = ", ".join(export.text_columns)
    if student is not None:
        facts |= _scored(student.name, scores) | {f"the model's {key}": value for key, value in _made(student).items()}
    intro = "A text classifier as one ONNX graph, written by `cod export`: it runs without PyTorch and transformers."
    return _card(export.name, intro, export.labels, facts, ["onnx"], use=_use_export(export))


def _made(student: Student) -> dict[str, object]:
    """What a student was trained on, and how."""
    return {
        "method": f"{student.method}, mix {student.mix}",
        "rows trained on": f"{student.rows}, of them {student.shots} real shots (k = {student.k})",
        "steps": student.steps,
        "seed": student.seed,
        "teacher (fingerprint)": student.teacher or "unknown",
        "started from": _start(student),
        **_texts(student.text_column, student.settings["max_length"]),
        "parameters": f"{student.parameters:,}",
    }


def _scored(name: str, scores: Sequence[Score]) -> dict[str, object]:
    """What `cod eval` found of a model on each split, beside its teacher there."""
    teachers = {(score.task, score.split): score for score in scores if score.student == "teacher"}
    facts: dict[str, object] = {}
    for score in scores:
        if score.student != name or score.accuracy is None:
            continue
        teacher = teachers.get((score.task, score.split))
        parts = [f"{score.accuracy:.1%}"]
        parts += [f"its teacher {teacher.accuracy:.1%}"] if teacher and teacher.accuracy is not None else []
        parts += [f"agreement with it {score.agreement:.1%}"] if score.agreement is not None else []
        parts += [f"ECE {score.ece:.3f}"] if score.ece is not None else []
        facts[f"the model's accuracy on {score.task}, {score.split} ({score.n:,} rows)"] = ", ".join(parts)
    return facts


def _both(values: Mapping[str, T], shown: Callable[[T], str]) -> str:
    return f"{shown(values['export'])}; the model it was made of: {shown(values['model'])}"


def _use_export(export: Export) -> str:
    return f"""With `cod predict PATH/TO/THIS/FOLDER FILE`, or in Python with onnxruntime and tokenizers alone:

```python
import json, numpy, onnxruntime, tokenizers

folder = "PATH/TO/THIS/FOLDER"
tokenizer = tokenizers.Tokenizer.from_file(f"{{folder}}/tokenizer.json")
session = onnxruntime.InferenceSession(f"{{folder}}/{GRAPHS[export.precision]}")
names = json.load(open(f"{{folder}}/config.json"))["id2label"]
found = tokenizer.encode_batch(["A text to classify.", "Another one."])
columns = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
feed = {{i.name: numpy.array([getattr(e, columns[i.name]) for e in found]) for i in session.get_inputs()}}
print([names[str(row.argmax())] for row in session.run(None, feed)[0]])
```

In a browser or Node, transformers.js reads this folder as it is:

```js
import {{ pipeline }} from "@huggingface/transformers";
const classify = await pipeline("text-classification", "PATH/TO/THIS/FOLDER");
console.log(await classify("A text to classify."));
```"""


def _reached(teacher: TeacherOrigin) -> str:
    """Its accuracy on validation, said to flatter where the epoch was chosen by it."""
    chosen = f" (the best of {len(teacher.validation)} epochs, chosen on these very rows)" if teacher.best_epoch else ""
    return f"{teacher.accuracy:.1%}{chosen}"


def _start(student: Student) -> str:
    start = public_name(student.settings["student"]) if student.settings["student"] else "its teacher"
    return f"{start} (cut from the teacher)" if student.cut_from_teacher else start


def _texts(columns: Sequence[str] | None, max_length: int | None) -> dict[str, str]:
    """How texts were put together and cut; what is classified has to look alike."""
    several = {"texts": f"lines of {', '.join(f'{name}: …' for name in columns)}"} if columns and columns[1:] else {}
    return several | ({"longest text": f"{max_length} tokens"} if max_length else {})


def public_name(model: str) -> str:
    """A Hub id as it is; of a folder only its name, since a card travels and a home directory should not."""
    return Path(model).resolve().name if Path(model).expanduser().exists() else model


def _card(
    name: str,
    intro: str,
    labels: Sequence[str],
    facts: Mapping[str, object],
    tags: Sequence[str],
    *,
    use: str = _USE,
) -> ModelCard:
    data = ModelCardData(library_name="transformers", pipeline_tag="text-classification", tags=["cod", *tags])
    table = "\n".join(f"| {key} | {_literal(value)} |" for key, value in facts.items())
    lines = [
        f"# {_literal(name)}",
        intro,
        f"Labels: {', '.join(map(_literal, labels))}",
        "| | |\n|---|---|\n" + table,
        use,
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n")


def _literal(value: object) -> str:
    """A value on one line that Markdown shows as it is: labels come from data, and a card is shown as a page."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", line)
