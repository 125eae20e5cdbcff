"""The state of `cod counterfact`: what each (shot, target) has got so far, kept on disk."""

from collections.abc import Iterable, Mapping, Sequence

from cod_cli.artifacts import Run
from cod_cli.cases import Case, Tries
from cod_cli.edits import n_edits
from cod_cli.generators import Generator, Proposal
from cod_cli.jsonl import write_records
from cod_cli.records import Attempt, Counterfactual, Manifest, Shot
from cod_cli.verify import TAKEN, Verdict


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
        several = sum(len(generator.prompts) for generator in generators) > 1
        self.groups = [[Case(shot, target, several) for target in targets] for shot, targets in wanted]
        self.cases = {(case.shot.id, case.target): case for group in self.groups for case in group}
        self._texts = {shot.text for shot, _ in wanted}
        for case in self.cases.values():
            if chosen.get(case.shot.id) == case.target:
                case.closed = True
                reason = f"the teacher reads the shot itself as {case.target}"
                case.earlier.append(case.attempt("teacher-wrong", reason))
            else:
                case.begin(0, self.generators[0])

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
            if answered and (accepted or finished):
                case.earlier, case.tries = attempts, []
                case.closed, case.counterfactual = True, rows.get(key)
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

    def settle(self, proposal: Proposal, verdicts: Sequence[Verdict]) -> Tries:
        """Record what came of one proposal; when all writers of this turn are done, the smallest edit is the CFE."""
        case = self.cases[proposal.need.shot.id, proposal.need.target]
        tries = case.of(proposal.need.prompt)
        tries.record(proposal, verdicts, self._texts)
        if not case.waiting():
            self._decide(case)
        return tries

    def _decide(self, case: Case) -> None:
        case.unanswered = any(tries.unanswered for tries in case.tries)
        if not case.unanswered and not self._accept_best(case):
            following = case.turn + 1
            case.closed = following >= len(self.generators)
            if not case.closed:
                case.begin(following, self.generators[following])

    def _accept_best(self, case: Case) -> bool:
        for tries in case.tries:
            if tries.best and tries.best.text in self._texts:
                tries.outdone("duplicate", TAKEN)
                tries.best = None
        found = [(n_edits(case.shot.text, tries.best.text), tries) for tries in case.tries if tries.best]
        if found:
            case.accept(min(found, key=lambda row: row[0])[1])
            self._texts |= {case.counterfactual.text} if case.counterfactual else set()
        return bool(found)

    def accept_partial(self) -> None:
        """Settle for the best of the writers that did answer."""
        for case in self.cases.values():
            if case.unanswered:
                self._accept_best(case)

    def counterfactuals(self) -> list[Counterfactual]:
        """The accepted CFEs in shot order."""
        return [case.counterfactual for case in self.cases.values() if case.counterfactual]

    def attempts(self) -> list[Attempt]:
        """All attempts in shot order; where one was accepted while other writers are still trying, not yet."""
        cases = (case for case in self.cases.values() if not (case.open and case.flipped))
        return [attempt for case in cases for attempt in case.attempts]

    def texts(self) -> set[str]:
        """Every text that stands in the run: a new candidate must be none of them."""
        return set(self._texts)

    def counts(self) -> dict[str, int]:
        """How the cases stand; the parts add up to ``cases``."""
        cases = list(self.cases.values())
        wrong = sum(_is_wrong(case) for case in cases)
        accepted = sum(case.closed and case.flipped for case in cases)
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
