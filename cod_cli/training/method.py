"""Which method a student is trained by where nobody names one: whether its teacher's layers can be followed."""

from collections.abc import Sequence

from cod_cli.models.load import load_config, load_tokenizer


def why_not_layers(
    teacher: str, student: str, texts: Sequence[str], *, layers: int | Sequence[int] | None, max_length: int
) -> str | None:
    """Why a student cannot follow its teacher's hidden layers; None where it can.

    Args:
        teacher: a model folder or Hub id.
        student: the model that it starts from.
        texts: what it is trained on, which both must read as the same tokens.
        layers: as for `load_backbone`, the layers of the start that stay.
        max_length: longest text in tokens.

    Raises:
        CodError: one of the two is not there.
    """
    ours, theirs = (load_config(name).get_text_config().num_hidden_layers for name in (student, teacher))
    own = ours if layers is None else layers if isinstance(layers, int) else len(layers)
    if own > theirs:
        return f"the student has {own} layers, its teacher {theirs}"
    if student != teacher and _tokens(student, texts, max_length) != _tokens(teacher, texts, max_length):
        return "the student has another tokenizer than its teacher"
    return None


def _tokens(model: str, texts: Sequence[str], max_length: int) -> list[list[str]]:
    tokenizer = load_tokenizer(model)
    length = min(max_length, int(tokenizer.model_max_length))
    rows = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    return [list(tokenizer.convert_ids_to_tokens(row)) for row in rows]
