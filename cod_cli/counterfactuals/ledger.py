"""What `cod counterfact` still has to ask for and what it has got: cases, what each writer tried for them, the ledger.

A *case* is a (shot, target) pair that a counterfactual is wanted for. Whatever is settled is kept on disk.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cod_cli.counterfactuals.contrast import ContrastSets
from cod_cli.counterfactuals.edits import edit_ratio, n_edits
from cod_cli.counterfactuals.generators.base import EditRequest, Generator, Proposal
from cod_cli.counterfactuals.generators.editor import Editor
from cod_cli.counterfactuals.quality import NEAR_COPIES
from cod_cli.counterfactuals.verify import TAKEN, Verdict
from cod_cli.records import Attempt, AttemptStatus, Counterfactual, Manifest, Shot
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import CounterfactualFiles


@dataclass
class WriterAttempts:
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
    def name(self) -> str:
        """What it is called in records: its prompt, or a generator that has none."""
        return self.prompt or self.generator.name

    def request(self) -> EditRequest:
        """The next thing to ask this writer for."""
        return EditRequest(self.case.shot, self.case.target, self.count + 1, self.feedback, self.prompt)

    def add(self, status: AttemptStatus, reason: str | None = None, text: str | None = None) -> None:
        """Record what became of one candidate, or that there was none."""
        writer = self.name if self.case.several_writers else None
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

    ``turn`` says which generator writes now; all its prompts write. ``closed`` cases are settled, ``unanswered`` ones
    got no answer in this run and are left for the next. ``earlier`` are the attempts of a run before, or of none.
    ``known`` are the texts that were accepted in a run before, for a case that is gone through again for the sake of
    what stands beside its CFE; ``row`` is what stands on disk for them. ``text`` is the CFE's own, whatever somebody
    made of its row since.
    """

    shot: Shot
    target: str
    several_writers: bool = False
    earlier: list[Attempt] = field(default_factory=list)
    writers: list[WriterAttempts] = field(default_factory=list)
    counterfactual: Counterfactual | None = None
    turn: int = 0
    closed: bool = False
    unanswered: bool = False
    known: frozenset[str | None] = frozenset()
    row: Counterfactual | None = None
    text: str | None = None

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
        rows = [*self.earlier, *(row for writer in self.writers for row in writer.attempts)]
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
        """Let another generator write, with each of its prompts."""
        self.turn = turn
        self.writers += [WriterAttempts(self, generator, prompt) for prompt in generator.prompts]

    def waiting(self) -> list[WriterAttempts]:
        """The writers that are still to be asked."""
        return [writer for writer in self.writers if not writer.done and not writer.unanswered]

    def of(self, prompt: str | None) -> WriterAttempts:
        """The attempts of the writer with this prompt, of the generator whose turn it is."""
        return next(writer for writer in reversed(self.writers) if writer.prompt == prompt)

    def accept(self, winner: WriterAttempts) -> None:
        """Make the counterfactual of a writer's best text and close the case."""
        assert winner.best is not None
        for other in self.writers:
            if other is not winner and other.best:
                other.outdone("accepted", f"{winner.name} flips with an edit that is no larger")
        verdict, self.closed, self.unanswered = winner.best, True, False
        self.text = verdict.text
        if verdict.text in self.known:
            self.counterfactual = self.row
            return
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


class Ledger:
    """All cases of a run in shot order.

    Args:
        files: where it is kept.
        wanted: the shots in order, each with the targets that a CFE is wanted for.
        chosen: by shot id the class that the teacher chooses on the shot; empty without a teacher.
        generators: who writes, in order; the next takes over what one has left open.
        contrast: what stands beside the first CFEs; None for nothing.
    """

    def __init__(
        self,
        files: CounterfactualFiles,
        wanted: Sequence[tuple[Shot, Sequence[str]]],
        chosen: Mapping[str, str],
        generators: Sequence[Generator],
        contrast: ContrastSets | None = None,
    ) -> None:
        self.files = files
        self.contrast = contrast
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
        on_disk, by_case = self.files.rows.peek(), _by_case(self.files.read_attempts())
        rows = {(row.shot_id, row.label): row for row in on_disk if not row.is_further}
        finished = manifest is not None and manifest.complete
        settled = {}
        for key, attempts in by_case.items():
            accepted = frozenset(attempt.text for attempt in attempts if attempt.status == "accepted")
            answered = all(attempt.status != "error" for attempt in attempts)
            if answered and (accepted or finished):
                settled[key] = accepted
        again = self._resume_contrast(manifest, on_disk, by_case, settled)
        for key, accepted in settled.items():
            case = self.cases.get(key)
            if case is None or case.closed:
                continue
            if case.shot.id in again:
                case.known, case.row = accepted, rows.get(key)
            else:
                case.earlier, case.writers = by_case[key], []
                case.closed, case.counterfactual = True, rows.get(key)
                self._texts |= {rows[key].text} if key in rows else set()

    def _resume_contrast(
        self,
        manifest: Manifest | None,
        rows: Sequence[Counterfactual],
        attempts: Mapping[tuple[str, str], list[Attempt]],
        settled: Collection[tuple[str, str]],
    ) -> set[str]:
        """Take over the families that are there; the ids of the shots whose cases must be gone through again.

        What the teacher was shown for a shot is on no disk, so a family that an unfinished run has not settled is made
        once more, from what the teacher and the journal know: nothing is asked twice.
        """
        file = self.files.semifactuals
        if self.contrast is None or file is None:
            return set()
        old = file.manifest()
        found: dict[str | None, list[Counterfactual]] = defaultdict(list)
        for row in [*(row for row in rows if row.is_further), *file.peek()]:
            found[row.shot_id].append(row)
        asked: dict[str, list[Attempt]] = defaultdict(list)
        for (shot_id, target), tried in attempts.items():
            asked[shot_id] += tried if target.startswith("=") else []
        again = set()
        for group in filter(None, self.groups):
            shot_id = group[0].shot.id
            there = (old is not None and old.complete) or (shot_id in found and not self.contrast.asks_on)
            if there and all(case.closed or (shot_id, case.target) in settled for case in group):
                self.contrast.take_over(shot_id, found[shot_id], asked[shot_id])
            else:
                again.add(shot_id)
        if manifest is not None and self.contrast.families:
            self.contrast.earlier_near_copies = manifest.counts.get(NEAR_COPIES, 0)
        return again

    def gather(self) -> None:
        """Settle the families of the shots whose cases are all closed; the editor searches on for them first."""
        if self.contrast is None:
            return
        families = self.contrast.families
        groups = [group for group in self.groups if group and group[0].shot.id not in families]
        ready = [group for group in groups if all(case.closed for case in group)]
        writer = self.generators[0]
        if isinstance(writer, Editor):
            self.contrast.search_on(writer, [(group[0].shot, [case.target for case in group]) for group in ready])
        for group in ready:
            texts = {case.target: case.text for case in group if case.text is not None}
            self.contrast.settle(group[0].shot, texts)

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

    def settle(self, proposal: Proposal, verdicts: Sequence[Verdict]) -> WriterAttempts:
        """Record what came of one proposal; when all writers of this turn are done, the smallest edit is the CFE."""
        case = self.cases[proposal.request.shot.id, proposal.request.target]
        writer = case.of(proposal.request.prompt)
        writer.record(proposal, verdicts, self._texts)
        if not case.waiting():
            self._decide(case)
        return writer

    def _decide(self, case: Case) -> None:
        case.unanswered = any(writer.unanswered for writer in case.writers)
        if not case.unanswered and not self._accept_best(case):
            following = case.turn + 1
            case.closed = following >= len(self.generators)
            if not case.closed:
                case.begin(following, self.generators[following])

    def _accept_best(self, case: Case) -> bool:
        for writer in case.writers:
            if writer.best and writer.best.text in self._texts:
                writer.outdone("duplicate", TAKEN)
                writer.best = None
        found = [(n_edits(case.shot.text, writer.best.text), writer) for writer in case.writers if writer.best]
        if found:
            case.accept(min(found, key=lambda row: row[0])[1])
            self._texts |= {case.counterfactual.text} if case.counterfactual else set()
        return bool(found)

    def accept_partial(self) -> None:
        """Settle for the best of the writers that did answer."""
        for case in self.cases.values():
            if case.unanswered:
                self._accept_best(case)
                case.closed = case.closed or self.contrast is not None
        self.gather()

    def counterfactuals(self) -> list[Counterfactual]:
        """The accepted CFEs in shot order, each shot's further ones behind its first."""
        further: dict[str | None, list[Counterfactual]] = defaultdict(list)
        for row in self._contrast_rows()[0]:
            further[row.shot_id].append(row)
        rows = []
        for group in filter(None, self.groups):
            rows += [case.counterfactual for case in group if case.counterfactual] + further[group[0].shot.id]
        return rows

    def semifactuals(self) -> list[Counterfactual]:
        """The edits on which the teacher keeps its choice, in shot order."""
        return self._contrast_rows()[1]

    def _contrast_rows(self) -> tuple[list[Counterfactual], list[Counterfactual]]:
        if self.contrast is None:
            return [], []
        shots = [group[0].shot for group in self.groups if group]
        return self.contrast.rows(shots, [case.text for case in self.cases.values() if case.text is not None])

    def attempts(self) -> list[Attempt]:
        """All attempts in shot order; where one was accepted while other writers are still trying, not yet."""
        rows: list[Attempt] = []
        for group in filter(None, self.groups):
            rows += [row for case in group if not (case.open and case.flipped) for row in case.attempts]
            rows += self.contrast.attempts(group[0].shot) if self.contrast else []
        return _numbered(rows)

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
        } | self._contrast_counts()

    def _contrast_counts(self) -> dict[str, int]:
        """What stands beside the first CFEs; ``semifactuals_only`` are shots that no edit turned."""
        if self.contrast is None:
            return {}
        further, semifactuals = self._contrast_rows()
        turned = {row.shot_id for row in further} | {key[0] for key, case in self.cases.items() if case.flipped}
        return {
            "further": len(further),
            "semifactuals": len(semifactuals),
            NEAR_COPIES: self.contrast.near_copies,
            "semifactuals_only": len({row.shot_id for row in semifactuals} - turned),
            "further_unanswered": len(self.contrast.unanswered()),
        }

    def save(self) -> None:
        """Bring the files up to date: first the rows, so that an accepted attempt always has its row."""
        if self.contrast is not None and self.files.semifactuals is not None:
            write_records(self.files.semifactuals.path, self.semifactuals())
        write_records(self.files.rows.path, self.counterfactuals())
        write_records(self.files.attempts, self.attempts())


def _is_wrong(case: Case) -> bool:
    return any(attempt.status == "teacher-wrong" for attempt in case.attempts)


def _numbered(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Numbered from 1 for each shot and target."""
    counted: Counter[tuple[str, str]] = Counter()
    rows = []
    for row in attempts:
        counted[row.shot_id, row.target] += 1
        n = counted[row.shot_id, row.target]
        rows.append(row if row.n == n else row.replace(n=n))
    return rows


def _by_case(attempts: Iterable[Attempt]) -> dict[tuple[str, str], list[Attempt]]:
    grouped: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        grouped.setdefault((attempt.shot_id, attempt.target), []).append(attempt)
    return grouped
