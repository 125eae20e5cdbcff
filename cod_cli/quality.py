"""How good the counterfactuals of a run are, and what they took: pure functions over its records.

The unit is the *request*, a (shot, target) pair. Flips are counted over the requests that got an answer: not those
whose shot the teacher already puts into the target (`teacher-wrong`), and not those still unanswered (`error`).
Edits are measured on the texts as they stand, so a pair mended by hand counts as what it is now.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cod_cli import edits
from cod_cli.records import Attempt, Counterfactual, Reply, Shot

Request = tuple[str | None, str]
Edit = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

# English only: in another language the share of negation-only edits is 0.
_NEGATORS = frozenset({"not", "no", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without"})
_AUXILIARIES = frozenset({"do", "does", "did"})
_CONTRACTION = re.compile(r"(?i)\b(\w+?)n['’]t\b|\b(can)not\b")
_FULL_FORMS = {"ca": "can", "wo": "will", "sha": "shall"}


@dataclass(frozen=True)
class Work:
    """What was asked of a generator, what it answered, and what was accepted; ``cost`` of all replies together."""

    shots: Sequence[Shot]
    cfes: Sequence[Counterfactual]
    attempts: Sequence[Attempt] = ()
    replies: Sequence[Reply] = ()
    cost: float | None = None

    def of(self, requests: Collection[Request]) -> "Work":
        """The part that belongs to some of the requests; what it cost is not known."""
        return Work(
            self.shots,
            [row for row in self.cfes if _request(row) in requests],
            [row for row in self.attempts if _request(row) in requests],
            [row for row in self.replies if _request(row) in requests],
        )

    def requests(self) -> set[Request]:
        """Every (shot, target) pair that was asked for."""
        return set(map(_request, self.attempts)) | set(map(_request, self.cfes))


@dataclass(frozen=True)
class Quality:
    """The CFEs of a group of requests; rates are shares in [0, 1], null where there is nothing to divide by.

    ``first_flip_rate`` and ``flip_rate`` are the requests whose first answer, or whose final one, flips the teacher,
    as a share of those answered; null as long as no teacher has been asked. ``unchanged`` is a share of all answers,
    ``negation_only`` and ``distinct_edits`` of the accepted CFEs; tokens count prompt and completion of all answers.
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


@dataclass(frozen=True)
class QualityReport:
    """The quality of all requests, of those for each target class, and of those with each prompt (``name@hash``)."""

    overall: Quality
    by_class: Mapping[str, Quality]
    by_prompt: Mapping[str, Quality]


def report(work: Work) -> QualityReport:
    """Measure a run as a whole, by target class and by prompt.

    Attempts do not name their prompt: those of a request without a CFE count for the prompt that all CFEs share.
    """
    prompts = {_request(cfe): cfe.prompt for cfe in work.cfes if cfe.prompt}
    only = next(iter(prompts.values())) if len(set(prompts.values())) == 1 else None

    def by(name: Callable[[Request], str | None]) -> dict[str, Quality]:
        groups: dict[str, set[Request]] = {}
        for request in work.requests():
            if (found := name(request)) is not None:
                groups.setdefault(found, set()).add(request)
        return {found: measure(work.of(requests)) for found, requests in sorted(groups.items())}

    return QualityReport(
        overall=measure(work),
        by_class=by(lambda request: request[1]),
        by_prompt=by(lambda request: prompts.get(request, only)),
    )


def measure(work: Work) -> Quality:
    """Measure one group of requests; see `Quality`."""
    cfes, requests = work.cfes, work.requests()
    answers = [row for row in work.attempts if row.status not in ("teacher-wrong", "error")]
    wrong = {_request(row) for row in work.attempts if row.status == "teacher-wrong"}
    answered = set(map(_request, answers)) | set(map(_request, cfes))
    flipped = {_request(cfe) for cfe in cfes if cfe.flipped}
    first = {_request(row) for row in answers if row.n == 1 and row.status == "accepted"}
    teacher_asked = all(cfe.flipped is not None for cfe in cfes)
    pairs = [(source, cfe.text) for cfe, source in with_sources(work.shots, cfes)]
    ratios = [edits.edit_ratio(*pair) for pair in pairs]
    tokens = [tokens_of(reply) for reply in work.replies if reply.usage]
    return Quality(
        requests=len(requests),
        teacher_wrong=len(wrong),
        unanswered=len(requests - answered - wrong),
        accepted=len(cfes),
        first_flip_rate=_share(len(first & flipped), len(answered)) if teacher_asked else None,
        flip_rate=_share(len(flipped), len(answered)) if teacher_asked else None,
        edit_ratio_mean=float(np.mean(ratios)) if ratios else None,
        edit_ratio_p90=float(np.percentile(ratios, 90)) if ratios else None,
        unchanged=_share(sum(row.status == "unchanged" for row in answers), len(answers)),
        negation_only=_share(sum(is_negation_only(*pair) for pair in pairs), len(pairs)),
        distinct_edits=_share(len({edit_of(*pair) for pair in pairs}), len(pairs)),
        attempts_per_accepted=_share(len(answers), len(cfes)),
        tokens_per_accepted=_share(sum(tokens), len(cfes)) if tokens else None,
        cost_per_accepted=None if work.cost is None else _share(work.cost, len(cfes)),
    )


def tokens_of(reply: Reply) -> int:
    """Prompt and completion tokens of a reply, 0 where the server did not say."""
    usage = reply.usage or {}
    return usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)


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


def _request(row: Attempt | Reply | Counterfactual) -> Request:
    return row.shot_id, row.label if isinstance(row, Counterfactual) else row.target


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
