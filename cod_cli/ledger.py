"""The state of `cod counterfact`: what each (shot, target) has got so far, kept on disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cod_cli.artifacts import Run
from cod_cli.edits import edit_ratio, n_edits
from cod_cli.generators import Generator, Proposal
from cod_cli.jsonl import write_records
from cod_cli.records import Attempt, AttemptStatus, Counterfactual, Manifest, Shot
from cod_cli.verify import Verdict


@dataclass
class Case:
    """One counterfactual that is wanted: its attempts so far and, once there is one, the result.

    ``turn`` says which generator writes next and ``tries`` how often it was asked; ``closed`` cases are
    settled, ``unanswered`` ones got no answer in this run and are left for the next.
    """

    shot: Shot
    target: str
    attempts: list[Attempt] = field(default_factory=list)
    counterfactual: Counterfactual | None = None
    turn: int = 0
    tries: int = 0
    closed: bool = False
    unanswered: bool = False
    feedback: str | None = None

    @property
    def open(self) -> bool:
        """Whether asking (again) in this run makes sense."""
        return not self.closed and not self.unanswered

    @property
    def hopeful(self) -> bool:
        """Whether there is a CFE or there may still be one."""
        return not self.closed or self.counterfactual is not None

    def add(self, status: AttemptStatus, reason: str | None = None, text: str | None = None) -> None:
        """Record what became of one candidate, or that there was none."""
        n = len(self.attempts) + 1
        self.attempts.append(
            Attempt(shot_id=self.shot.id, target=self.target, n=n, text=text, status=status, reason=reason)
        )

    def accept(self, verdict: Verdict, generator: Generator) -> None:
        """Make the counterfactual of an accepted verdict and close the case."""
        self.closed = True
        self.counterfactual = Counterfactual(
            id=f"{self.shot.id}~{self.target}",
            shot_id=self.shot.id,
            text=verdict.text,
            label=self.target,
            source_label=self.shot.label,
            kind="cfe",
            generator=generator.name,
            prompt=generator.prompt,
            flipped=verdict.flipped,
            p_before=verdict.p_before,
            p_after=verdict.p_after,
            edit_ratio=round(edit_ratio(self.shot.text, verdict.text), 4),
            n_edits=n_edits(self.shot.text, verdict.text),
            minimal=verdict.minimal,
            attempts=len(self.attempts),
        )


class Ledger:
    """All cases of a run in shot order.

    Args:
        run: where the files are.
        wanted: the shots in order, each with the targets that a CFE is wanted for.
        chosen: by shot id the class that the teacher chooses on the shot; empty without a teacher.
        generators: who writes, in order; the next takes over what one has left open.
    """

    def __init__(
        self,
        run: Run,
        wanted: Sequence[tuple[Shot, Sequence[str]]],
        chosen: Mapping[str, str],
        generators: Sequence[Generator],
    ) -> None:
        self.run = run
        self.generators = list(generators)
        self.groups = [[Case(shot, target) for target in targets] for shot, targets in wanted]
        self.cases = {(case.shot.id, case.target): case for group in self.groups for case in group}
        self._texts = {shot.text for shot, _ in wanted}
        for case in self.cases.values():
            if chosen.get(case.shot.id) == case.target:
                case.closed = True
                case.add("teacher-wrong", f"the teacher reads the shot itself as {case.target}")

    def resume(self, manifest: Manifest | None) -> None:
        """Take over what an earlier run has settled.

        Accepted cases stay as they are, also where somebody has deleted or mended the row since. What
        an unfinished run left open starts again: replies that were paid for come from the journal.
        """
        rows = {(row.shot_id, row.label): row for row in self.run.counterfactuals.peek()}
        finished = manifest is not None and manifest.complete
        for key, attempts in _by_case(self.run.read_attempts()).items():
            case = self.cases.get(key)
            if case is None or case.closed:
                continue
            accepted = any(attempt.status == "accepted" for attempt in attempts)
            answered = all(attempt.status != "error" for attempt in attempts)
            if accepted or (finished and answered):
                case.attempts, case.closed, case.counterfactual = attempts, True, rows.get(key)
                self._texts |= {rows[key].text} if key in rows else set()

    def asked(self, budget: int | None) -> list[Case]:
        """The open cases whose turn it is; with a budget only those that the equal-budget walk may need.

        The walk takes each shot with its CFEs until ``budget`` rows are full. A case that is still open
        counts as if it will succeed, so that a failure extends the walk when this is called again.
        """
        cases: list[Case] = []
        rows = 0
        for group in self.groups:
            # With one row left no CFE fits beside its shot.
            if budget is not None and budget - rows < 2:
                break
            cases += [case for case in group if case.open]
            rows += 1 + sum(case.hopeful for case in group)
        turn = min((case.turn for case in cases), default=0)
        return [case for case in cases if case.turn == turn]

    def settle(self, proposal: Proposal, verdicts: Sequence[Verdict]) -> Case:
        """Record what came of one proposal: the smallest edit that passed is the CFE."""
        case = self.cases[proposal.need.shot.id, proposal.need.target]
        if proposal.status:
            case.add(proposal.status, proposal.reason)
        for rejected in proposal.rejected:
            case.add(rejected.status, rejected.reason)
        if proposal.status == "error":
            case.unanswered = True
            return case
        passed = [v for v in verdicts if v.status == "accepted" and v.text not in self._texts]
        best = min(passed, key=lambda v: n_edits(case.shot.text, v.text), default=None)
        for verdict in verdicts:
            status, reason = verdict.status, verdict.reason
            if status == "accepted" and verdict is not best:
                status, reason = ("too-far", "another candidate of this reply flips with a smaller edit")
            case.add(status, reason, verdict.candidate.text)
        if best:
            case.accept(best, self.generators[case.turn])
            self._texts.add(best.text)
        else:
            self._next_try(case)
        return case

    def _next_try(self, case: Case) -> None:
        case.tries += 1
        if case.tries >= self.generators[case.turn].max_attempts:
            case.turn, case.tries, case.feedback = case.turn + 1, 0, None
        case.closed = case.turn >= len(self.generators)

    def counterfactuals(self) -> list[Counterfactual]:
        """The accepted CFEs in shot order."""
        return [case.counterfactual for case in self.cases.values() if case.counterfactual]

    def attempts(self) -> list[Attempt]:
        """All attempts in shot order."""
        return [attempt for case in self.cases.values() for attempt in case.attempts]

    def texts(self) -> set[str]:
        """Every text that stands in the run: a new candidate must be none of them."""
        return set(self._texts)

    def counts(self) -> dict[str, int]:
        """How the cases stand; the parts add up to ``cases``."""
        cases = list(self.cases.values())
        wrong = sum(_is_wrong(case) for case in cases)
        accepted = sum(any(a.status == "accepted" for a in case.attempts) for case in cases)
        unanswered = sum(case.unanswered for case in cases)
        not_asked = sum(case.open for case in cases)
        return {
            "shots": len(self.groups),
            "cases": len(cases),
            "accepted": accepted,
            "not_flipped": len(cases) - accepted - wrong - unanswered - not_asked,
            "teacher_wrong": wrong,
            "unanswered": unanswered,
            "not_asked": not_asked,
            "attempts": len(self.attempts()) - wrong,
        }

    def save(self) -> None:
        """Bring both files up to date: first the rows, so that an accepted attempt always has its row."""
        write_records(self.run.counterfactuals.path, self.counterfactuals())
        write_records(self.run.attempts, self.attempts())


def _is_wrong(case: Case) -> bool:
    return any(attempt.status == "teacher-wrong" for attempt in case.attempts)


def _by_case(attempts: Iterable[Attempt]) -> dict[tuple[str, str], list[Attempt]]:
    grouped: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        grouped.setdefault((attempt.shot_id, attempt.target), []).append(attempt)
    return grouped
