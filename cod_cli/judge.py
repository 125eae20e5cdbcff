"""A judge of counterfactuals: another model than teacher and generator, asked for the class of what was written.

An edit that turns the teacher alone is an adversarial example: the words changed, the meaning did not.
"""

import dataclasses
from collections.abc import Sequence

from cod_cli.errors import CodError, UsageError
from cod_cli.records import Counterfactual
from cod_cli.settings import CounterfactSettings
from cod_cli.teachers import Teacher, load_teacher


class Judge:
    """Says of which class a text is; ``name`` is the model with its fingerprint, as manifests have it."""

    def __init__(self, model: Teacher) -> None:
        self.name = f"{model.name}@{model.fingerprint}"
        self._model = model

    def judge(self, cfes: Sequence[Counterfactual]) -> list[Counterfactual]:
        """The CFEs with the class that the judge gives them."""
        chosen = self._model.logits([cfe.text for cfe in cfes]).argmax(1) if cfes else []
        return [cfe.replace(judge=self._model.labels[index]) for cfe, index in zip(cfes, chosen, strict=True)]


def load_judge(settings: CounterfactSettings, labels: Sequence[str], teacher: Teacher | None) -> Judge | None:
    """The judge of ``--judge``, None without one.

    Raises:
        UsageError: the judge is the LLM that writes, or the teacher itself.
        CodError: no such model, or its classes are not the run's.
    """
    if settings.judge is None:
        return None
    if settings.generator == "openai" and settings.judge == f"openai:{settings.model}":
        raise UsageError(f"--judge {settings.judge} is the LLM that writes", "let another model judge")
    try:
        model = load_teacher(
            dataclasses.replace(settings, teacher=settings.judge, teacher_labels=settings.judge_labels), labels
        )
    except CodError as error:
        hint = (error.hint or "").replace("--teacher", "--judge") or None
        raise CodError(f"--judge {settings.judge}: {error.message.replace('the teacher', 'the judge')}", hint) from None
    if teacher is not None and model.fingerprint == teacher.fingerprint:
        raise UsageError(f"--judge {settings.judge} is the teacher itself, which agrees with all that flips it")
    return Judge(model)
