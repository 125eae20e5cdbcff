"""Contrast sets: beside the first CFE of a shot and class further ones, and edits that do not turn the teacher.

Gardner et al. (arXiv 2004.02709); semifactuals: Lu et al. (arXiv 2203.12918). The teacher has answered for most of
them already, while a CFE was searched, checked and reverted: a `Witness` keeps what it was shown for each shot, and
`gather` takes the smallest edits of every class from that.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cod_cli.counterfactuals.edits import edit_ratio, n_edits, spans, tokenize, words
from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.generators.editor import Editor
from cod_cli.counterfactuals.verify import Candidate, gate
from cod_cli.metrics import flips, softmax
from cod_cli.models.inference import Progress
from cod_cli.records import Attempt, AttemptStatus, Counterfactual, Shot
from cod_cli.teachers.base import Logits, Oracle

SEMIFACTUAL = "semifactual"
# The classes beside its own that a shot's family is searched for, the nearest ones.
NEAREST_CLASSES = 2
# Neither a CFE nor a semifactual: the teacher is not sure, or turns to a class that is not wanted.
_NEITHER = ""


@dataclass(frozen=True)
class Writer:
    """Who wrote a text: a generator's name and its prompt; ``asked`` where it was asked for a further text."""

    name: str
    prompt: str | None = None
    asked: bool = False


@dataclass(frozen=True)
class Shown:
    """What the teacher said of a text, raw logits [C], and who wrote that."""

    logits: Logits
    writer: Writer


class Witness:
    """A teacher that remembers what it was shown for each shot, and who wrote that.

    ``writer`` is to be set to whoever writes next; ``shown`` holds texts by the id of their shot.
    """

    def __init__(self, teacher: Oracle) -> None:
        self.teacher = teacher
        self.writer = Writer("")
        self.shown: dict[str, dict[str, Shown]] = defaultdict(dict)

    @property
    def cheap(self) -> bool:
        """Whether asking costs no money."""
        return self.teacher.cheap

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        """The teacher's logits [n, C]; texts of a family are remembered."""
        rows = self.teacher.logits(texts, families=families, progress=progress)
        for text, family, row in zip(texts, families or (), rows, strict=False):
            if family is not None and text not in self.shown[family]:
                self.shown[family][text] = Shown(row.copy(), self.writer)
        return rows


@dataclass(frozen=True)
class Sizes:
    """How large a family shall be.

    ``per_shot`` CFEs of a class, the first included; ``semifactuals`` at most, of which ``wanted`` are asked for where
    there are fewer. ``only`` names the one class that CFEs may have, None for whichever the teacher turned to.
    """

    per_shot: int
    semifactuals: int
    wanted: int
    only: str | None = None


@dataclass(frozen=True)
class Family:
    """What stands beside the first CFEs of a shot; ``near_copies`` were left out."""

    cfes: tuple[Counterfactual, ...] = ()
    semifactuals: tuple[Counterfactual, ...] = ()
    near_copies: int = 0

    def rows(self, label: str | None) -> tuple[Counterfactual, ...]:
        """The further CFEs of a class, or for None the semifactuals."""
        return self.semifactuals if label is None else tuple(row for row in self.cfes if row.label == label)


@dataclass(frozen=True)
class Gatherer:
    """Takes the family of a shot from what the teacher was shown for it.

    Args:
        sizes: how many of each.
        labels: the run's classes in order.
        before: by shot id the teacher's logits [C] on the shot.
        taken: texts that no row may have: the shots'.
        max_edit_ratio: as for CFEs.
        columns: names of columns that stand in the texts, see `edits.column_names`.
    """

    sizes: Sizes
    labels: Sequence[str]
    before: Mapping[str, Sequence[float]]
    taken: Collection[str]
    max_edit_ratio: float
    columns: Sequence[str] = ()

    def kept_class(self, shot: Shot) -> str:
        """The class that the teacher chooses on the shot, and on its semifactuals."""
        return self.labels[int(np.argmax(self.before[shot.id]))]

    def gather(self, shot: Shot, firsts: Mapping[str, str], shown: Mapping[str, Shown]) -> Family:
        """The smallest edits of every class, of equals the one that the teacher is surest of.

        Args:
            shot: whose family.
            firsts: the texts of its first CFEs, by class.
            shown: what the teacher was shown.
        """
        by_class: dict[str | None, list[_Edit]] = {}
        for edit in self._edits(shot, shown):
            by_class.setdefault(edit.label, []).append(edit)
        found = _Selection({near_key(text) for text in (shot.text, *firsts.values())}, set(firsts.values()))
        kept = found.take(by_class.pop(None, []), self.sizes.semifactuals)
        cfes: list[Counterfactual] = []
        for label in (label for label in self.labels if label in by_class):
            edits = found.take(by_class[label], self.sizes.per_shot - (label in firsts))
            cfes += [self._row(shot, edit, f"{shot.id}~{label}~{n}") for n, edit in enumerate(edits, 2)]
        semifactuals = (self._row(shot, edit, f"{shot.id}~={n}") for n, edit in enumerate(kept, 1))
        return Family(tuple(cfes), tuple(semifactuals), found.near_copies)

    def _edits(self, shot: Shot, shown: Mapping[str, Shown]) -> "list[_Edit]":
        edits = []
        for text, said in shown.items():
            label = self._label(shot, said.logits)
            if label is not _NEITHER and self._passes(shot, text):
                edits.append(_Edit(text, label, n_edits(shot.text, text), self._margin(shot, label, said), said))
        # Another batch changes the last digits of a logit: they shall not decide which is the surer.
        return sorted(edits, key=lambda edit: (edit.size, -round(edit.margin, 3), edit.text))

    def _label(self, shot: Shot, after: Logits) -> str | None:
        """The class that the text is a CFE of, None for a semifactual; ``_NEITHER`` for what is no use."""
        before = self.before[shot.id]
        chosen = int(after.argmax())
        if chosen == int(np.argmax(before)):
            return None
        label = self.labels[chosen]
        allowed = label != shot.label and self.sizes.only in (None, label)
        return label if allowed and flips(before, after, chosen) else _NEITHER

    def _passes(self, shot: Shot, text: str) -> bool:
        return self.gate(shot, text) is None

    def gate(self, shot: Shot, text: str) -> tuple[AttemptStatus, str] | None:
        """Why a text is not looked at, or None."""
        return gate(Candidate(shot, shot.label, text), self.taken, self.max_edit_ratio, self.columns)

    def goals(self, shot: Shot, wanted: Sequence[str]) -> list[str]:
        """The classes to search on for: those wanted and the nearest others, by the teacher's logits on the shot."""
        logits = self.before[shot.id]
        ranked = sorted(self.labels, key=lambda label: -logits[self.labels.index(label)])
        others = [label for label in ranked if label not in (shot.label, self.kept_class(shot))]
        near = [label for label in others if label == self.sizes.only] if self.sizes.only else others[:NEAREST_CLASSES]
        return list(dict.fromkeys([*near, *(label for label in others if label in wanted)]))

    def _margin(self, shot: Shot, label: str | None, said: Shown) -> float:
        place = self.labels.index(label or self.kept_class(shot))
        return float(said.logits[place] - np.delete(said.logits, place).max())

    def _row(self, shot: Shot, edit: "_Edit", row_id: str) -> Counterfactual:
        label = edit.label or self.kept_class(shot)
        before, after = (
            softmax(logits)[self.labels.index(label)] for logits in (self.before[shot.id], edit.said.logits)
        )
        return Counterfactual(
            id=row_id,
            shot_id=shot.id,
            text=edit.text,
            label=label,
            source_label=shot.label,
            kind="cfe" if edit.label else SEMIFACTUAL,
            generator=edit.said.writer.name,
            prompt=edit.said.writer.prompt,
            flipped=edit.label is not None,
            p_before=round(float(before), 6),
            p_after=round(float(after), 6),
            edit_ratio=round(edit_ratio(shot.text, edit.text), 4),
            n_edits=edit.size,
            # Nobody tried its parts: what is one span has none.
            minimal=len(spans(shot.text, edit.text)) == 1 if edit.label else None,
            attempts=int(edit.said.writer.asked),
        )


@dataclass(frozen=True)
class _Edit:
    """A text that may stand in a family: of which class, None for a semifactual, how large an edit and how sure."""

    text: str
    label: str | None
    size: int
    margin: float
    said: Shown


@dataclass
class _Selection:
    """What has been taken; texts that equal another by `near_key` are left out and counted."""

    seen: set[tuple[str, ...]]
    firsts: Collection[str]
    near_copies: int = 0

    def take(self, edits: Sequence[_Edit], n: int) -> list[_Edit]:
        """The first n that are no near-copies."""
        taken: list[_Edit] = []
        for edit in edits:
            if len(taken) >= n:
                break
            if edit.text in self.firsts:
                continue
            key = near_key(edit.text)
            if key in self.seen:
                self.near_copies += 1
                continue
            self.seen.add(key)
            taken.append(edit)
        return taken


def near_key(text: str) -> tuple[str, ...]:
    """What near-copies share: the words without case, punctuation and white space; without words the marks."""
    return tuple(word.casefold() for word in words(text)) or tuple(token.text for token in tokenize(text))


@dataclass
class Ask:
    """What an LLM is asked for where a family lacks it: further CFEs of ``label``, or, to ``keep`` it, semifactuals.

    ``count`` says how often it was asked, ``failures`` how often in a row for nothing; ``unanswered`` ones are left for
    the next run. ``base`` numbers its requests behind those for the first CFE.
    """

    shot: Shot
    label: str
    keep: bool
    base: int = 0
    count: int = 0
    failures: int = 0
    reason: str | None = None
    unanswered: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, bool]:
        """What tells it from others."""
        return self.shot.id, self.label, self.keep

    def add(self, status: AttemptStatus, reason: str | None, text: str | None) -> None:
        """Record what became of one candidate; of a semifactual's the target is ``=`` and the class that is kept."""
        target = f"={self.label}" if self.keep else self.label
        n = len(self.attempts) + 1
        self.attempts.append(Attempt(shot_id=self.shot.id, target=target, n=n, text=text, status=status, reason=reason))


class ContrastSets:
    """The families of a run, and what an LLM is still to be asked for them.

    Args:
        gatherer: what takes families from what the teacher was shown.
        witness: who knows that.
        max_attempts: requests in a row that may fail before giving up; 0 where nobody is asked: then the editor
            searches on, or by-products are all there is.
    """

    def __init__(self, gatherer: Gatherer, witness: Witness, max_attempts: int = 0) -> None:
        self.gatherer, self.witness, self.max_attempts = gatherer, witness, max_attempts
        sizes = gatherer.sizes
        self.asks_on = max_attempts > 0 and (sizes.per_shot > 1 or sizes.wanted > 0)
        self.families: dict[str, Family] = {}
        self.asks: dict[tuple[str, str, bool], Ask] = {}
        self.earlier_near_copies = 0
        self._firsts: dict[str, Mapping[str, str]] = {}
        self._earlier: dict[str, list[Attempt]] = {}

    def take_over(self, shot_id: str, rows: Sequence[Counterfactual], attempts: Sequence[Attempt]) -> None:
        """A family that an earlier run has settled, and what became of the semifactuals that were asked for."""
        cfes, semifactuals = ([row for row in rows if (row.kind == SEMIFACTUAL) == kept] for kept in (False, True))
        self.families[shot_id] = Family(tuple(cfes), tuple(semifactuals))
        self._earlier[shot_id] = list(attempts)

    def search_on(self, editor: Editor, wanted: Sequence[tuple[Shot, Sequence[str]]]) -> None:
        """Have the editor show the teacher more edits of shots, each given with the classes wanted of it."""
        goals = [(shot, label) for shot, labels in wanted for label in self.gatherer.goals(shot, labels)]
        sizes = self.gatherer.sizes
        if sizes.per_shot > 1 or sizes.wanted:
            editor.search_on(goals, flipped=sizes.per_shot, kept=sizes.semifactuals)

    def settle(self, shot: Shot, firsts: Mapping[str, str]) -> None:
        """Gather the family of a shot whose first CFEs, texts by class, are settled."""
        self._firsts[shot.id] = firsts
        self._gather(shot)
        if not self.asks_on:
            self.witness.shown.pop(shot.id, None)  # hundreds of texts, which nobody needs any more
            return
        sizes = self.gatherer.sizes
        wanted = [Ask(shot, label, keep=False, base=self.max_attempts) for label in firsts if sizes.per_shot > 1]
        # Where nothing turned the teacher, semifactuals are of no use: no balanced mix takes them.
        turned = bool(firsts or self.families[shot.id].cfes)
        wanted += [Ask(shot, self.gatherer.kept_class(shot), keep=True)] if sizes.wanted and turned else []
        self.asks.update((ask.key, ask) for ask in wanted)

    def _gather(self, shot: Shot) -> None:
        shown = self.witness.shown.get(shot.id, {})
        self.families[shot.id] = self.gatherer.gather(shot, self._firsts[shot.id], shown)

    def _rows(self, ask: Ask) -> tuple[Counterfactual, ...]:
        return self.families[ask.shot.id].rows(None if ask.keep else ask.label)

    def open_asks(self) -> list[Ask]:
        """What an LLM is to be asked for now."""
        return [ask for ask in self.asks.values() if self._is_open(ask)]

    def _is_open(self, ask: Ask) -> bool:
        wanted = self.gatherer.sizes.wanted if ask.keep else self.gatherer.sizes.per_shot - 1
        return len(self._rows(ask)) < wanted and ask.failures < self.max_attempts and not ask.unanswered

    def request(self, ask: Ask, prompt: str | None) -> EditRequest:
        """The next thing to ask for: something that was not written before."""
        first = self._firsts[ask.shot.id].get(ask.label)
        written = [*([first] if first and not ask.keep else []), *(row.text for row in self._rows(ask))]
        parts = [f"An earlier edit does not do ({ask.reason})."] if ask.reason else []
        if written:
            parts.append("\n".join(["You wrote already:", *written, "Write another one, which changes other words."]))
        number = ask.base + ask.count + 1
        return EditRequest(
            ask.shot, ask.label, number, "\n".join(parts) or None, None if ask.keep else prompt, ask.keep
        )

    def answer(self, proposals: Sequence[Proposal]) -> None:
        """Show the teacher what came back, in one go, and write down what became of it.

        Raises:
            PartialError: an LLM that is the teacher has not answered.
        """
        gates = [[self.gatherer.gate(proposal.request.shot, text) for text in proposal.texts] for proposal in proposals]
        fresh = [
            (text, proposal.request.shot.id)
            for proposal, found in zip(proposals, gates, strict=True)
            for text, rejected in zip(proposal.texts, found, strict=True)
            if rejected is None
        ]
        before = {shot_id: set(self.witness.shown[shot_id]) for _, shot_id in fresh}
        if fresh:
            self.witness.logits([text for text, _ in fresh], families=[shot_id for _, shot_id in fresh])
        for proposal, found in zip(proposals, gates, strict=True):
            self._record(proposal, found, before.get(proposal.request.shot.id, set()))

    def _record(
        self, proposal: Proposal, gates: Sequence[tuple[AttemptStatus, str] | None], before: Collection[str]
    ) -> None:
        request = proposal.request
        ask = self.asks[request.shot.id, request.target, request.keep]
        if proposal.status == "error":
            ask.unanswered = True
            ask.add("error", proposal.reason, None)
            return
        if proposal.status:
            ask.add(proposal.status, proposal.reason, None)
        for rejected in proposal.rejected:
            ask.add(rejected.status, rejected.reason, None)
        self._gather(request.shot)
        rows = {row.text for row in self._rows(ask)}
        statuses = [
            gated or self._status(ask, text, text in rows, text in before or text in proposal.texts[:n])
            for n, (text, gated) in enumerate(zip(proposal.texts, gates, strict=True))
        ]
        for text, (status, reason) in zip(proposal.texts, statuses, strict=True):
            ask.add(status, reason, text)
        ask.count += 1
        accepted = any(status == "accepted" for status, _ in statuses)
        ask.failures = 0 if accepted else ask.failures + 1
        ask.reason = None if accepted else (statuses[-1][1] if statuses else proposal.reason)

    def _status(self, ask: Ask, text: str, is_row: bool, was_shown: bool) -> tuple[AttemptStatus, str | None]:
        if was_shown:
            return "duplicate", "the teacher was shown this text before"
        if is_row:
            return "accepted", None
        read = self.gatherer.labels[int(self.witness.shown[ask.shot.id][text].logits.argmax())]
        if read == ask.label:
            return "duplicate", "it is nearly the same as another one, or the teacher is not sure of it"
        return "no-flip", f"the teacher reads it as {read}"

    def unanswered(self) -> list[Ask]:
        """What nobody has answered in this run."""
        return [ask for ask in self.asks.values() if ask.unanswered]

    def attempts(self, shot: Shot) -> list[Attempt]:
        """What became of what was asked for a shot's family."""
        asked = [row for ask in self.asks.values() if ask.shot.id == shot.id for row in ask.attempts]
        return self._earlier.get(shot.id, []) + asked

    def rows(self, shots: Sequence[Shot], firsts: Collection[str]) -> tuple[list[Counterfactual], list[Counterfactual]]:
        """All further CFEs and all semifactuals in shot order; a text that stands elsewhere in the run only once."""
        seen = {*self.gatherer.taken, *firsts}
        kept: list[Counterfactual] = []
        for shot in shots:
            family = self.families.get(shot.id, Family())
            fresh = [row for row in (*family.cfes, *family.semifactuals) if row.text not in seen]
            seen |= {row.text for row in fresh}
            kept += fresh
        return [row for row in kept if row.kind != SEMIFACTUAL], [row for row in kept if row.kind == SEMIFACTUAL]

    @property
    def near_copies(self) -> int:
        """How many texts were left out, since another of the family has the same words."""
        return self.earlier_near_copies + sum(family.near_copies for family in self.families.values())
