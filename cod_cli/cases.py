"""One counterfactual that is wanted: what each writer has tried for it, and what came of that."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cod_cli.edits import edit_ratio, n_edits
from cod_cli.generators import Generator, Need, Proposal
from cod_cli.records import Attempt, AttemptStatus, Counterfactual, Shot
from cod_cli.verify import TAKEN, Verdict


@dataclass
class Tries:
    """What one writer, a generator with one of its prompts, has tried for a case.

    ``count`` says how often it was asked and ``feedback`` what was wrong last time; ``best`` is its smallest edit that
    passed. It is ``done`` with that, or when it has been asked often enough; ``unanswered`` where there was no answer.
    """

    case: "Case"
    generator: Generator
    prompt: str | None
    attempts: list[Attempt] = field(default_factory=list)
    count: int = 0
    feedback: str | None = None
    best: Verdict | None = None
    done: bool = False
    unanswered: bool = False

    @property
    def writer(self) -> str:
        """What it is called in records: its prompt, or a generator that has none."""
        return self.prompt or self.generator.name

    def need(self) -> Need:
        """The next thing to ask this writer for."""
        return Need(self.case.shot, self.case.target, self.count + 1, self.feedback, self.prompt)

    def add(self, status: AttemptStatus, reason: str | None = None, text: str | None = None) -> None:
        """Record what became of one candidate, or that there was none."""
        writer = self.writer if self.case.several_writers else None
        self.attempts.append(self.case.attempt(status, reason, text, writer))

    def record(self, proposal: Proposal, verdicts: Sequence[Verdict], taken: Collection[str]) -> None:
        """Write down one proposal and what became of its texts: the smallest edit that passed is the best.

        ``taken`` are the texts that stand in the run already: the revert pass may have come upon one.
        """
        if proposal.status:
            self.add(proposal.status, proposal.reason)
        for rejected in proposal.rejected:
            self.add(rejected.status, rejected.reason)
        if proposal.status == "error":
            self.unanswered = True
            return
        passed = [verdict for verdict in verdicts if verdict.status == "accepted" and verdict.text not in taken]
        self.best = min(passed, key=lambda v: n_edits(self.case.shot.text, v.text), default=None)
        for verdict in verdicts:
            if verdict is self.best:
                self.add("accepted", None, verdict.text)
            elif verdict.status == "accepted" and verdict.text in taken:
                self.add("duplicate", TAKEN, verdict.candidate.text)
            elif verdict.status == "accepted":
                self.add("too-far", "another candidate of this reply flips with a smaller edit", verdict.candidate.text)
            else:
                self.add(verdict.status, verdict.reason, verdict.candidate.text)
        self.count += 1
        self.done = self.best is not None or self.count >= self.generator.max_attempts

    def outdone(self, status: AttemptStatus, reason: str) -> None:
        """Say of the best text why it does not become the CFE."""
        self.attempts = [
            row.replace(status=status, reason=reason) if row.status == "accepted" else row for row in self.attempts
        ]


@dataclass
class Case:
    """A (shot, target) pair that a CFE is wanted for.

    ``turn`` says which generator writes now; all its prompts try. ``closed`` cases are settled, ``unanswered`` ones
    got no answer in this run and are left for the next. ``earlier`` are the attempts of a run before, or of none.
    """

    shot: Shot
    target: str
    several_writers: bool = False
    earlier: list[Attempt] = field(default_factory=list)
    tries: list[Tries] = field(default_factory=list)
    counterfactual: Counterfactual | None = None
    turn: int = 0
    closed: bool = False
    unanswered: bool = False

    @property
    def open(self) -> bool:
        """Whether asking (again) in this run makes sense."""
        return not self.closed and not self.unanswered

    @property
    def hopeful(self) -> bool:
        """Whether there is a CFE or there may still be one."""
        return not self.closed or self.counterfactual is not None

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts, writer after writer, numbered from 1."""
        rows = [*self.earlier, *(row for tries in self.tries for row in tries.attempts)]
        return [row if row.n == n else row.replace(n=n) for n, row in enumerate(rows, 1)]

    @property
    def flipped(self) -> bool:
        """Whether some attempt was accepted."""
        return any(row.status == "accepted" for row in self.attempts)

    def attempt(
        self, status: AttemptStatus, reason: str | None = None, text: str | None = None, writer: str | None = None
    ) -> Attempt:
        """A row for the file of attempts."""
        return Attempt(
            shot_id=self.shot.id, target=self.target, n=1, text=text, status=status, reason=reason, writer=writer
        )

    def begin(self, turn: int, generator: Generator) -> None:
        """Let another generator try, with each of its prompts."""
        self.turn = turn
        self.tries += [Tries(self, generator, prompt) for prompt in generator.prompts]

    def waiting(self) -> list[Tries]:
        """The writers that are still to be asked."""
        return [tries for tries in self.tries if not tries.done and not tries.unanswered]

    def of(self, prompt: str | None) -> Tries:
        """The tries of the writer with this prompt, of the generator whose turn it is."""
        return next(tries for tries in reversed(self.tries) if tries.prompt == prompt)

    def accept(self, winner: Tries) -> None:
        """Make the counterfactual of a writer's best text and close the case."""
        assert winner.best is not None
        for other in self.tries:
            if other is not winner and other.best:
                other.outdone("accepted", f"{winner.writer} flips with an edit that is no larger")
        verdict, self.closed, self.unanswered = winner.best, True, False
        self.counterfactual = Counterfactual(
            id=f"{self.shot.id}~{self.target}",
            shot_id=self.shot.id,
            text=verdict.text,
            label=self.target,
            source_label=self.shot.label,
            kind="cfe",
            generator=winner.generator.name,
            prompt=winner.prompt,
            flipped=verdict.flipped,
            p_before=verdict.p_before,
            p_after=verdict.p_after,
            edit_ratio=round(edit_ratio(self.shot.text, verdict.text), 4),
            n_edits=n_edits(self.shot.text, verdict.text),
            minimal=verdict.minimal,
            attempts=len(self.attempts),
        )
