"""How good the counterfactuals of a run are, and what they took: pure functions over its records.

The unit is the *case*, a (shot, target) pair that a CFE is wanted for (``requests`` on disk and in tables). Flips
are counted over the cases that got an answer: not those whose shot the teacher already puts into the target
(`teacher-wrong`), and not those still unanswered (`error`).
Edits are measured on the texts as they stand, so a pair mended by hand counts as what it is now.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cod_cli.counterfactuals import edits
from cod_cli.llm.prices import Price
from cod_cli.records import Attempt, Counterfactual, Reply, Shot

CaseKey = tuple[str | None, str]
Edit = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
# The name under which a manifest counts texts that were left out of contrast sets.
NEAR_COPIES = "near_copies"
# English only: in another language the share of negation-only edits is 0.
_NEGATORS = frozenset({"not", "no", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without"})
_AUXILIARIES = frozenset({"do", "does", "did"})
_CONTRACTION = re.compile(r"(?i)\b(\w+?)n['’]t\b|\b(can)not\b")
_FULL_FORMS = {"ca": "can", "wo": "will", "sha": "shall"}


@dataclass(frozen=True)
class Work:
    """What was asked of a generator, what it answered, and what was accepted; ``price`` of its replies' tokens."""

    shots: Sequence[Shot]
    cfes: Sequence[Counterfactual]
    attempts: Sequence[Attempt] = ()
    replies: Sequence[Reply] = ()
    price: Price | None = None

    def firsts(self) -> "Work":
        """The part that is about the first CFE of each case, semifactuals left out."""
        return replace(
            self,
            cfes=[row for row in self.cfes if not row.is_further],
            attempts=[row for row in self.attempts if not row.target.startswith("=")],
            replies=[row for row in self.replies if not row.target.startswith("=")],
        )

    def to(self, target: str) -> "Work":
        """The part that is about one target class."""
        return replace(
            self,
            cfes=[row for row in self.cfes if row.label == target],
            attempts=[row for row in self.attempts if row.target == target],
            replies=[row for row in self.replies if row.target == target],
        )

    def by(self, writer: str) -> "Work":
        """One writer's part: the texts of its own that flip count as its CFEs, also where a smaller edit won."""
        attempts = [row for row in self.attempts if row.writer == writer]
        accepted = {_case_of(row): row.text for row in attempts if row.status == "accepted"}
        return replace(
            self,
            cfes=[_as_written(cfe, writer, accepted[_case_of(cfe)]) for cfe in self.cfes if _case_of(cfe) in accepted],
            attempts=attempts,
            replies=[row for row in self.replies if row.prompt == writer],
        )

    def cases(self) -> set[CaseKey]:
        """Every (shot, target) pair that was asked for."""
        return set(map(_case_of, self.attempts)) | set(map(_case_of, self.cfes))


@dataclass(frozen=True)
class Quality:
    """The CFEs of a group of cases; rates are shares in [0, 1], null where there is nothing to divide by.

    ``first_flip_rate`` and ``flip_rate`` are the cases whose first answer, or whose final one, flips the teacher,
    as a share of those answered; null as long as no teacher has been asked. ``unchanged`` is a share of all answers,
    ``negation_only`` and ``distinct_edits`` of the accepted CFEs, ``judge_agrees`` of the judged ones; tokens count
    prompt and completion of all answers that were paid for.
    """

    requests: int
    teacher_wrong: int
    unanswered: int
    accepted: int
    first_flip_rate: float | None
    flip_rate: float | None
    edit_ratio_mean: float | None
    edit_ratio_p90: float | None
    unchanged: float | None
    negation_only: float | None
    distinct_edits: float | None
    attempts_per_accepted: float | None
    tokens_per_accepted: float | None
    cost_per_accepted: float | None
    judge_agrees: float | None


@dataclass(frozen=True)
class QualityReport:
    """The quality of all cases, of those to each target class, and by prompt.

    ``by_prompt`` has a part for each prompt (``name@hash``), and for a fallback by its name.
    """

    overall: Quality
    by_class: Mapping[str, Quality]
    by_prompt: Mapping[str, Quality]


def report(work: Work) -> QualityReport:
    """Measure the first CFEs of a run as a whole, by target class and by prompt."""
    work = work.firsts()
    targets = sorted({target for _, target in work.cases()})
    writers = dict.fromkeys(row.writer for row in work.attempts if row.writer)
    parts = {writer: measure(work.by(writer)) for writer in writers}
    # Attempts name no writer where there is but one.
    only = {cfe.prompt for cfe in work.cfes if cfe.prompt}
    if not parts and len(only) == 1:
        parts = {only.pop(): measure(work)}
    return QualityReport(
        overall=measure(work), by_class={target: measure(work.to(target)) for target in targets}, by_prompt=parts
    )


def measure(work: Work) -> Quality:
    """Measure one group of cases; see `Quality`."""
    cfes, cases = work.cfes, work.cases()
    answers = [row for row in work.attempts if row.status not in ("teacher-wrong", "error")]
    wrong = {_case_of(row) for row in work.attempts if row.status == "teacher-wrong"}
    answered = set(map(_case_of, answers)) | set(map(_case_of, cfes))
    flipped = {_case_of(cfe) for cfe in cfes if cfe.flipped}
    earliest = {_case_of(row): row for row in sorted(answers, key=lambda row: -row.n)}
    first = {case for case, row in earliest.items() if row.status == "accepted"}
    teacher_asked = all(cfe.flipped is not None for cfe in cfes)
    pairs = [(source, cfe.text) for cfe, source in with_sources(work.shots, cfes)]
    ratios = [edits.edit_ratio(*pair) for pair in pairs]
    paid = [reply.usage for reply in work.replies if reply.usage]
    tokens = [sum(usage.get(kind, 0) for usage in paid) for kind in ("prompt_tokens", "completion_tokens")]
    judged = [cfe for cfe in cfes if cfe.judge is not None]
    return Quality(
        requests=len(cases),
        teacher_wrong=len(wrong),
        unanswered=len(cases - answered - wrong),
        accepted=len(cfes),
        first_flip_rate=_share(len(first & flipped), len(answered)) if teacher_asked else None,
        flip_rate=_share(len(flipped), len(answered)) if teacher_asked else None,
        edit_ratio_mean=float(np.mean(ratios)) if ratios else None,
        edit_ratio_p90=float(np.percentile(ratios, 90)) if ratios else None,
        unchanged=_share(sum(row.status == "unchanged" for row in answers), len(answers)),
        negation_only=_share(sum(is_negation_only(*pair) for pair in pairs), len(pairs)),
        distinct_edits=_share(len({edit_of(*pair) for pair in pairs}), len(pairs)),
        attempts_per_accepted=_share(len(answers), len(cfes)),
        tokens_per_accepted=_share(sum(tokens), len(cfes)) if paid else None,
        cost_per_accepted=_share(work.price.of(*tokens), len(cfes)) if paid and work.price else None,
        judge_agrees=_share(sum(cfe.judge == cfe.label for cfe in judged), len(judged)),
    )


@dataclass(frozen=True)
class ContrastSummary:
    """What stands beside the first CFEs: how many CFEs and semifactuals of each class, how large their edits are.

    ``near_copies`` were left out. ``semifactuals_only`` counts the shots that no edit turned. The mean edit ratios, and
    the share of each that the judge takes for its class, are null where there is nothing to divide by.
    """

    further: Mapping[str, int]
    semifactuals: Mapping[str, int]
    near_copies: int
    semifactuals_only: int
    further_edit_ratio: float | None
    semifactuals_edit_ratio: float | None
    judge_agrees_further: float | None
    judge_agrees_semifactuals: float | None


def contrast_summary(
    cfes: Sequence[Counterfactual], semifactuals: Sequence[Counterfactual], *, near_copies: int
) -> ContrastSummary:
    """Count and measure contrast sets; ``cfes`` are all of a run, the first ones among them."""
    further = [row for row in cfes if row.is_further]
    return ContrastSummary(
        further=dict(sorted(Counter(row.label for row in further).items())),
        semifactuals=dict(sorted(Counter(row.label for row in semifactuals).items())),
        near_copies=near_copies,
        semifactuals_only=len({row.shot_id for row in semifactuals} - {row.shot_id for row in cfes}),
        further_edit_ratio=_mean_ratio(further),
        semifactuals_edit_ratio=_mean_ratio(semifactuals),
        judge_agrees_further=_judge_agrees(further),
        judge_agrees_semifactuals=_judge_agrees(semifactuals),
    )


def _mean_ratio(rows: Sequence[Counterfactual]) -> float | None:
    return _share(sum(row.edit_ratio for row in rows), len(rows))


def _judge_agrees(rows: Sequence[Counterfactual]) -> float | None:
    judged = [row for row in rows if row.judge is not None]
    return _share(sum(row.judge == row.label for row in judged), len(judged))


def _as_written(cfe: Counterfactual, writer: str, text: str | None) -> Counterfactual:
    """The CFE that this writer's text would have become; nobody has judged it unless it did."""
    if (cfe.prompt or cfe.generator) == writer or text is None:
        return cfe
    return cfe.replace(text=text, judge=None)


def with_sources(shots: Sequence[Shot], cfes: Sequence[Counterfactual]) -> list[tuple[Counterfactual, str]]:
    """Each CFE with the text that it was made from: its parent's where it has one, else its shot's.

    A CFE whose source is gone, because somebody deleted that row, is left out.
    """
    texts = {shot.id: shot.text for shot in shots} | {cfe.id: cfe.text for cfe in cfes}
    sources = [(cfe, texts.get(cfe.parent_id or cfe.shot_id or "")) for cfe in cfes]
    return [(cfe, source) for cfe, source in sources if source is not None]


def edit_of(source: str, target: str) -> Edit:
    """What was exchanged for what, wherever it stands: the removed and the added tokens of each span, lower case."""
    before = [token.text.lower() for token in edits.tokenize(source)]
    after = [token.text.lower() for token in edits.tokenize(target)]
    return tuple(
        (tuple(before[s.source_start : s.source_end]), tuple(after[s.target_start : s.target_end]))
        for s in edits.spans(source, target)
    )


def is_negation_only(source: str, target: str) -> bool:
    """Whether the texts differ in negations and nothing else (``is`` → ``isn't``, ``like`` → ``do not like``)."""
    before, after = _plain_words(source), _plain_words(target)
    negated = [[word for word in side if word in _NEGATORS] for side in (before, after)]
    rest = [[word for word in side if word not in _NEGATORS | _AUXILIARIES] for side in (before, after)]
    return negated[0] != negated[1] and rest[0] == rest[1]


def _plain_words(text: str) -> list[str]:
    full = _CONTRACTION.sub(lambda m: f"{m[2] or _FULL_FORMS.get(m[1].lower(), m[1])} not", text)
    return [word.lower() for word in edits.words(full)]


def _case_of(row: Attempt | Reply | Counterfactual) -> CaseKey:
    return row.shot_id, row.label if isinstance(row, Counterfactual) else row.target


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
