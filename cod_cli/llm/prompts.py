"""Finds, checks and renders prompts: YAML files with ``string.Template`` placeholders."""

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from cod_cli.errors import UsageError
from cod_cli.records import Record, Shot
from cod_cli.store.yaml import parse_yaml

PLACEHOLDERS = ("text", "label", "target", "labels")
# Of a prompt that asks for texts of their own, told by its $shots.
OF_NEW_TEXTS = ("shots", "others", "label", "labels", "topic", "length", "n", "before")
Message = dict[str, str]
_HINT = (
    'it has texts description, system (may be "") and user; it may have labels (`name: text`, in quotes if need be) '
    "and a list of examples (text, label, target and edit each)"
)
Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
# How the wordings of a family were called before; runs and habits of then go on.
_RENAMED = {"-v2": "-definition", "-v3": "-find-words", "-v4": "-short"}


class Demonstration(Record):
    """A demonstration: ``edit`` is ``text`` turned from ``label`` to ``target``."""

    text: Stripped
    label: Stripped
    target: Stripped
    edit: Stripped


class _PromptFile(Record):
    description: Stripped
    system: Stripped
    user: Stripped
    labels: dict[str, Stripped] = Field(default_factory=dict)
    examples: tuple[Demonstration, ...] = ()


class Prompt(_PromptFile):
    """A checked prompt; ``source`` is its file's text, ``hash`` 8 hex digits of SHA-256 over that.

    ``labels`` describes classes by name. ``examples`` become turns of user and assistant.
    """

    name: str
    hash: str
    source: str

    def __str__(self) -> str:
        """``name@hash``, as records name it."""
        return f"{self.name}@{self.hash}"

    @property
    def asks_for_class(self) -> bool:
        """Whether it asks which class a text has, so that it names none itself."""
        return not self.placeholders & {"label", "target", "shots"}

    @property
    def asks_for_texts(self) -> bool:
        """Whether it asks for new texts in the manner of some shots."""
        return "shots" in self.placeholders

    @property
    def placeholders(self) -> set[str]:
        """The names behind the $ that it uses."""
        return {name for part in (self.system, self.user) for name in Template(part).get_identifiers()}


def shipped_names() -> list[str]:
    """The names of the prompts that come with ``cod``, sorted."""
    names = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def find_prompt(name: str) -> Prompt:
    """A shipped prompt by its name of now or before, or any by the path of its YAML file.

    Raises:
        UsageError: there is no such prompt, or its file is not one; the message names the file.
    """
    shipped = f"{name[:-3]}{_RENAMED.get(name[-3:], name[-3:])}"
    if shipped in shipped_names():
        source: Traversable = _folder() / f"{shipped}.yaml"
    elif (path := Path(name)).is_file():
        source, name = path, path.stem
    else:
        raise UsageError(
            f"there is no prompt {name!r}", f"give the path of a YAML file, or one of: {', '.join(shipped_names())}"
        )
    try:
        return parse_prompt(source.read_text(encoding="utf-8"), name, str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {error}") from None


def _folder() -> Traversable:
    spec = importlib.util.find_spec("cod_prompts")
    if spec is None or spec.origin is None:  # a checkout that is not installed, or was before the folder was whole
        return Path(__file__).parents[2] / "prompts"
    return resources.files("cod_prompts")


def parse_prompt(content: str, name: str, where: str) -> Prompt:
    """Check the text of a prompt file; ``where`` is how errors call it."""
    values = parse_yaml(content, where)
    if not isinstance(values, dict):
        raise UsageError(f"{where} is no prompt", "it needs the keys description, system and user")
    optional = ("labels", "examples")  # whose names may stand there with nothing behind
    try:
        file = _PromptFile.model_validate({key: values[key] for key in values if values[key] or key not in optional})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise UsageError(f"{where}: {'; '.join(problems)}", _HINT) from None
    _check_placeholders(file, where)
    digits = hashlib.sha256(content.encode("utf-8")).hexdigest()[:8]
    return Prompt(**dict(file), name=name, hash=digits, source=content)


def _check_placeholders(file: _PromptFile, where: str) -> None:
    templates = {"system": Template(file.system), "user": Template(file.user)}
    stray = [key for key, template in templates.items() if not template.is_valid()]
    if stray:
        raise UsageError(f"{where} has a stray $ in {' and '.join(stray)}", "write $$ for a dollar sign")
    used = [name for template in templates.values() for name in template.get_identifiers()]
    placeholders = OF_NEW_TEXTS if "shots" in used else PLACEHOLDERS
    unknown = dict.fromkeys(f"${name}" for name in used if name not in placeholders)
    if unknown:
        known = ", ".join(f"${name}" for name in placeholders)
        raise UsageError(f"{where} has unknown placeholders: {', '.join(unknown)}", f"known: {known}")
    if not {"text", "shots"} & set(templates["user"].get_identifiers()):
        raise UsageError(f"{where} never gives the text", "put $text into `user`, or $shots to ask for new texts")
    if "shots" in used and file.examples:
        raise UsageError(f"{where} has examples, and asks for new texts", "the shots are its examples: leave them out")


def messages(prompt: Prompt, shot: Shot, target: str, labels: Sequence[str]) -> list[Message]:
    """The chat messages that ask for ``shot`` to be edited into ``target``.

    Demonstrations stand between system and question. Those about other classes than ``labels`` are left
    out, unless all are: then they show how to edit, not what.
    """
    described = "\n".join(_described(name, prompt.labels) for name in labels)
    fitting = [example for example in prompt.examples if {example.label, example.target} <= set(labels)]
    chat = [{"role": "system", "content": _fill(prompt.system, shot.text, shot.label, target, described)}]
    for example in fitting or prompt.examples:
        question = _fill(prompt.user, example.text, example.label, example.target, described)
        chat += [{"role": "user", "content": question}, {"role": "assistant", "content": example.edit}]
    chat.append({"role": "user", "content": _fill(prompt.user, shot.text, shot.label, target, described)})
    return [message for message in chat if message["content"]]


def class_messages(
    prompt: Prompt, text: str, labels: Sequence[str], codes: Sequence[str], demos: Sequence[Shot] = ()
) -> list[Message]:
    """The chat messages that ask for the class of a text, by its code; ``demos`` stand before it as turns.

    Raises:
        UsageError: the prompt is no such question.
    """
    if not prompt.asks_for_class or prompt.examples:
        raise UsageError(
            f"the prompt {prompt.name} is no question about a text's class",
            "one uses $text and $labels only and has no examples; start from: cod show --prompt teacher > mine.yaml",
        )
    code_of = dict(zip(labels, codes, strict=True))
    listed = "\n".join(f"{code_of[name]} = {_described(name, prompt.labels)[2:]}" for name in labels)
    chat = [{"role": "system", "content": _fill(prompt.system, text, "", "", listed)}]
    for demo in demos:
        chat.append({"role": "user", "content": _fill(prompt.user, demo.text, "", "", listed)})
        chat.append({"role": "assistant", "content": code_of[demo.label]})
    chat.append({"role": "user", "content": _fill(prompt.user, text, "", "", listed)})
    return [message for message in chat if message["content"]]


@dataclass(frozen=True)
class Wish:
    """What an LLM is asked for in one request: ``n`` new texts of the class ``label``.

    Args:
        label: the class that they shall have.
        shots: texts of that class, to write in the manner of.
        others: texts of other classes.
        topic: what they may tell of, in words.
        length: about how many words each shall have.
        n: how many.
    """

    label: str
    shots: tuple[str, ...]
    others: tuple[str, ...]
    topic: str
    length: int
    n: int


def writing_messages(prompt: Prompt, wish: Wish, labels: Sequence[str], before: Sequence[str] = ()) -> list[Message]:
    """The chat messages that ask for new texts; ``before`` are some that were written before.

    Raises:
        UsageError: the prompt asks for something else.
    """
    if not prompt.asks_for_texts:
        raise UsageError(
            f"the prompt {prompt.name} does not ask for new texts",
            "one shows $shots and asks for $n texts; start from: cod show --prompt pool > mine.yaml",
        )
    values = {
        "shots": _fenced(wish.shots),
        "others": _fenced(wish.others),
        "label": wish.label,
        "labels": "\n".join(_described(name, prompt.labels) for name in labels),
        "topic": wish.topic,
        "length": str(wish.length),
        "n": str(wish.n),
        "before": "".join(f"\n- {text}" for text in before),
    }
    chat = [("system", _filled_lines(prompt.system, values)), ("user", _filled_lines(prompt.user, values))]
    return [{"role": role, "content": content} for role, content in chat if content]


def _fenced(texts: Iterable[str]) -> str:
    return "".join(f"\n<text>\n{text}\n</text>" for text in texts)


def _filled_lines(template: str, values: Mapping[str, str]) -> str:
    """The template filled in, without the lines whose placeholder has nothing to say."""
    lines = (Template(line) for line in template.splitlines())
    kept = [line for line in lines if all(values[name] for name in line.get_identifiers())]
    return "\n".join(line.substitute(values) for line in kept)


def _described(name: str, descriptions: Mapping[str, str]) -> str:
    return f"- {name}: {descriptions[name]}" if name in descriptions else f"- {name}"


def _fill(template: str, text: str, label: str, target: str, labels: str) -> str:
    # One pass: a $ that stands in a text or a label's name is never looked at.
    return Template(template).substitute(text=text, label=label, target=target, labels=labels)


def render_messages(chat: Iterable[Message]) -> str:
    """Chat messages, for reading."""
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in chat)
