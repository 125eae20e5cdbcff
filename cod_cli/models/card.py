"""Model cards: what a model folder says about itself on the Hub and to whoever opens it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from cod_cli.records import Student, TeacherOrigin

_USE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH/TO/THIS/FOLDER")
print(classify("A text to classify."))
```"""


def student_card(student: Student) -> ModelCard:
    """The card of a distilled student."""
    facts = {
        "method": f"{student.method}, mix {student.mix}",
        "rows trained on": f"{student.rows}, of them {student.shots} real shots (k = {student.k})",
        "steps": student.steps,
        "seed": student.seed,
        "teacher (fingerprint)": student.teacher or "unknown",
        "started from": _start(student),
        **_texts(student.text_column, student.settings["max_length"]),
        "parameters": f"{student.parameters:,}",
    }
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
        "started from": _public(teacher.settings["model"]),
        **_texts(teacher.settings.get("text_column"), teacher.settings.get("max_length")),
        "parameters": f"{teacher.parameters:,}",
    }
    if teacher.validation:
        facts["accuracy on the validation split"] = _reached(teacher)
    intro = "A text classifier, fine-tuned by `cod teach`, for instance as a teacher of small students."
    return _card(name, intro, teacher.labels, facts, [])


def _reached(teacher: TeacherOrigin) -> str:
    """Its accuracy on validation, said to flatter where the epoch was chosen by it."""
    chosen = f" (the best of {len(teacher.validation)} epochs, chosen on these very rows)" if teacher.best_epoch else ""
    return f"{teacher.accuracy:.1%}{chosen}"


def _start(student: Student) -> str:
    start = _public(student.settings["student"]) if student.settings["student"] else "its teacher"
    return f"{start} (cut from the teacher)" if student.cut_from_teacher else start


def _texts(columns: Sequence[str] | None, max_length: int | None) -> dict[str, str]:
    """How texts were put together and cut; what is classified has to look alike."""
    several = {"texts": f"lines of {', '.join(f'{name}: …' for name in columns)}"} if columns and columns[1:] else {}
    return several | ({"longest text": f"{max_length} tokens"} if max_length else {})


def _public(model: str) -> str:
    """A Hub id as it is; of a folder only its name, since a card travels and a home directory should not."""
    return Path(model).resolve().name if Path(model).expanduser().exists() else model


def _card(name: str, intro: str, labels: Sequence[str], facts: Mapping[str, object], tags: Sequence[str]) -> ModelCard:
    data = ModelCardData(library_name="transformers", pipeline_tag="text-classification", tags=["cod", *tags])
    table = "\n".join(f"| {key} | {_literal(value)} |" for key, value in facts.items())
    lines = [
        f"# {_literal(name)}",
        intro,
        f"Labels: {', '.join(map(_literal, labels))}",
        "| | |\n|---|---|\n" + table,
        _USE,
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n")


def _literal(value: object) -> str:
    """A value on one line that Markdown shows as it is: labels come from data, and a card is shown as a page."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", line)
