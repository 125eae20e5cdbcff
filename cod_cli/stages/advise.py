"""`cod advise`: what a run has, what it lacks, and what each next step would cost and bring."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from cod_cli.counterfactuals.rounds import QUERIES
from cod_cli.llm.prices import Usage, prompt_tokens, tokens_in
from cod_cli.llm.prompts import find_prompt, writing_messages
from cod_cli.pools.plan import Plan
from cod_cli.records import Counterfactual, PoolText, Score, Shot, SoftLabel, Student, text_sha
from cod_cli.settings.advise import AdviseSettings
from cod_cli.settings.pool import PoolSettings
from cod_cli.store.run import Run
from cod_cli.ui import Ui


@dataclass(frozen=True)
class Finding:
    """What an arm of a sweep that ships as evidence brought over another, on SST-2: mean accuracies in %.

    ``folder`` is the sweep's in ``tests/evidence``, ``k`` the shots of each of its ``seeds`` runs.
    """

    folder: str
    arm: str
    baseline: str
    k: int
    before: float
    after: float
    seeds: int

    def __str__(self) -> str:
        """In words, with its source."""
        where = f"SST-2, k = {self.k}, {self.seeds} seeds: {self.before} → {self.after}; tests/evidence/{self.folder}"
        return f"{self.after - self.before:+.1f} points ({where})"


# The texts were real ones of the task, 585 a run on average; both sources are trained on for more steps than the shots.
BROUGHT = {
    "pool": Finding("rivals", "kd-pool-queries", "kd-shots", 16, 58.3, 77.9, 10),
    "contrast": Finding("contrast", "kd-contrast", "kd-shots", 8, 54.4, 67.4, 10),
}
# The editor's queries for a shot and 16 edits of each sort, on SST-2, where this run has not asked yet.
_QUERIES_A_SHOT = 170


@dataclass(frozen=True)
class Step:
    """A next step, and what it takes: ``queries`` of the teacher, ``tokens`` of an LLM and their ``cost``.

    ``minutes`` is None where the run has not measured them; ``measured`` says whether the tokens are its own average.
    """

    command: str
    brings: str
    queries: int = 0
    tokens: int = 0
    cost: float | None = None
    minutes: float | None = None
    measured: bool = True


@dataclass(frozen=True)
class Advice:
    """What a run has and lacks, in words, and the steps that make sense next, the first ones first."""

    run: Run
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        steps = [asdict(step) for step in self.steps]
        return {"run": str(self.run.folder), "has": self.has, "lacks": self.lacks, "steps": steps}


def advise(run: Run, settings: AdviseSettings, ui: Ui) -> Advice:
    """Look at the files of a run; no model is loaded, nothing is asked or written.

    Raises:
        CodError: there are no shots, or a file is damaged.
    """
    state = _read(run)
    return Advice(run, tuple(_has(state)), tuple(_lacks(state, settings.number)), tuple(_steps(state, settings.number)))


@dataclass(frozen=True)
class _State:
    """What stands in a run's folder; what is not there is empty."""

    run: Run
    labels: list[str]
    shots: list[Shot]
    cfes: list[Counterfactual]
    semifactuals: list[Counterfactual]
    pool: list[PoolText]
    softs: list[SoftLabel]
    students: list[Student]
    scores: list[Score]

    @property
    def rows(self) -> list[Shot | Counterfactual | PoolText]:
        """What the teacher is to label."""
        return [*self.shots, *self.cfes, *self.semifactuals, *self.pool]

    @property
    def unlabelled(self) -> int:
        """Rows without a soft label for their text."""
        known = {(soft.id, soft.text_sha) for soft in self.softs}
        return sum((row.id, text_sha(row.text)) not in known for row in self.rows)


def _read(run: Run) -> _State:
    return _State(
        run=run,
        labels=run.shots.require().labels,
        shots=run.shots.read(),
        cfes=run.counterfactuals.peek(),
        semifactuals=run.semifactuals.peek(),
        pool=run.pool.peek() if run.pool.manifest() else [],
        softs=[*run.soft_labels.peek(), *run.pool_labels.peek()],
        students=[run.read_student(name) for name in run.student_names()],
        scores=run.scores.peek(),
    )


def _has(state: _State) -> Iterator[str]:
    yield f"{len(state.shots)} shots of {len(state.labels)} classes"
    if state.cfes:
        yield f"{len(state.cfes)} counterfactuals"
    if state.semifactuals:
        yield f"{len(state.semifactuals)} semifactuals"
    if state.pool:
        by = Counter(row.source for row in state.pool)
        yield f"{len(state.pool)} texts without labels" + (f" ({by['llm']} by an LLM)" if by["llm"] else "")
    if state.softs:
        yield f"soft labels of {len(state.rows) - state.unlabelled} of {len(state.rows)} rows"
    if state.students:
        yield f"{len(state.students)} students"


def _lacks(state: _State, number: int) -> Iterator[str]:
    if len(state.pool) < number:
        yield f"{number - len(state.pool)} of {number} texts without labels"
    if not state.cfes:
        yield "counterfactuals"
    if not state.semifactuals:
        yield "semifactuals"
    if state.unlabelled:
        yield f"soft labels of {state.unlabelled} rows"
    if not state.students:
        yield "students"
    elif unscored := _unscored(state):
        yield f"scores of {unscored} students"


def _steps(state: _State, number: int) -> Iterator[Step]:
    run, missing = state.run.folder, number - len(state.pool)
    append = " --append" if state.pool else ""
    if state.softs and state.unlabelled:
        yield Step(f"cod label {run}", "students can train on these rows", queries=state.unlabelled)
    if missing > 0:
        yield Step(f"cod pool {run} --from DATA -n {missing}{append}", str(BROUGHT["pool"]), queries=missing)
        yield _writing(state, missing, append)
    if not state.semifactuals:
        command = f"cod counterfact {run} --generator editor --teacher T"
        yield Step(command, str(BROUGHT["contrast"]), queries=_editors_queries(state))
    if state.softs and not state.unlabelled and not state.students:
        yield Step(f"cod distill {run} --student S", "a student of all that is there")
    if unscored := _unscored(state):
        yield Step(f"cod eval {run}", f"scores of {unscored} students")


def _unscored(state: _State) -> int:
    return len({student.name for student in state.students} - {score.student for score in state.scores})


def _editors_queries(state: _State) -> int:
    """What contrast sets of all shots take: what this run's own pairs took, where the editor made them."""
    manifest = state.run.counterfactuals.manifest()
    if manifest and manifest.settings.get("generator") == "editor" and manifest.counts.get(QUERIES):
        return manifest.counts[QUERIES]
    return _QUERIES_A_SHOT * len(state.shots)


def _writing(state: _State, n: int, append: str) -> Step:
    """Having an LLM write n texts: at what those of this run took, else at what its prompts would."""
    command, brings = (
        f"cod pool {state.run.folder} --model M -n {n}{append}",
        "not measured yet: texts of the task, above",
    )
    manifest, written = state.run.pool.manifest(), sum(row.source == "llm" for row in state.pool)
    usage = Usage.from_record(manifest.usage if manifest else {})
    if not (manifest and written and usage.tokens):
        return Step(command, brings, queries=n, tokens=_by_its_prompts(state, n), measured=False)
    share = n / written
    seconds = mean(reply.latency_s for reply in state.run.read_pool_replies()) * manifest.counts.get("replies", 0)
    return Step(
        command,
        brings,
        queries=n,
        tokens=round(share * usage.tokens),
        cost=None if manifest.cost is None else round(share * manifest.cost, 4),
        minutes=round(share * seconds / PoolSettings.concurrency / 60, 1),
    )


def _by_its_prompts(state: _State, n: int) -> int:
    """About how many tokens n new texts take, each as long as the shots are on average."""
    plan = Plan(state.shots, state.labels, PoolSettings.seed, PoolSettings.max_tokens)
    asked = prompt_tokens(writing_messages(find_prompt(PoolSettings.prompt), plan.wish(1), state.labels))
    return round(n * (asked / plan.texts_each + mean(tokens_in(shot.text) for shot in state.shots)))
