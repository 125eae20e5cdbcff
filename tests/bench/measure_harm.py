"""Which sign, known before training and without held-out labels, tells a task where edits do harm from others.

python -m tests.bench.measure_harm --harmed cola RUN [RUN …]     # runs after `cod counterfact --generator editor`
"""

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from cod_cli.counterfactuals import harm
from cod_cli.mixes import select
from cod_cli.records import Counterfactual, Shot
from cod_cli.store.run import Run


class Signs:
    """What a run's files tell without a label that was held out."""

    def __init__(self, run: Run) -> None:
        self.shots: list[Shot] = run.shots.read()
        self.cfes: list[Counterfactual] = run.counterfactuals.read()
        self.edits = [*self.cfes, *run.semifactuals.peek()]
        self.made = run.counterfactuals.require()
        turned = {source: counts for source, counts in (self.made.random_edits or {}).items() if sum(counts.values())}
        self.turned = turned
        self.shares = {source: 1 - counts[source] / sum(counts.values()) for source, counts in turned.items()}

    def wrong(self) -> float:
        return self.made.counts["teacher_wrong"] / self.made.counts["cases"]

    def unturned(self) -> float:
        return 1 - len({row.shot_id for row in self.cfes}) / len(self.shots)

    def sureness(self) -> float:
        return mean(row.p_after or 0 for row in self.cfes if not row.is_further)

    def semifactuals(self) -> float:
        return sum(row.is_semifactual for row in self.edits) / len(self.edits)

    def left_over(self) -> float:
        return 1 - len(select("contrast", self.shots, self.edits)) / (len(self.shots) + len(self.edits))

    def one_class(self) -> float:
        return max(Counter(row.label for row in self.edits).values()) / len(self.edits)

    def words_apart(self) -> float:
        by_source = defaultdict(list)
        for row in self.cfes:
            if not row.is_further:
                by_source[row.source_label].append(row.n_edits)
        means = [mean(edits) for edits in by_source.values()]
        return max(means) - min(means)

    def random_turned(self) -> float:
        return mean(self.shares.values())

    def random_most(self) -> float:
        return max(self.shares.values())

    def random_apart(self) -> float:
        return max(self.shares.values()) - min(self.shares.values())

    def drift(self) -> float:
        found = harm.drift(self.turned)
        return found.share if found else 0


SIGNS: Mapping[str, Callable[[Signs], float]] = {
    "teacher wrong on its shots": Signs.wrong,
    "shots that no edit turns": Signs.unturned,
    "teacher's P(target) on the first CFEs": Signs.sureness,
    "semifactuals among the edits": Signs.semifactuals,
    "rows left over by balancing": Signs.left_over,
    "edits of the commonest class": Signs.one_class,
    "words to turn, hardest class less easiest": Signs.words_apart,
    "random edits that turn, mean of classes": Signs.random_turned,
    "random edits that turn, most turned class": Signs.random_most,
    "random edits that turn, most less least turned class": Signs.random_apart,
    "drift of random edits to one class": Signs.drift,
}
Found = Mapping[str, Sequence[tuple[Run, Signs]]]


def read(folders: Sequence[Path]) -> Found:
    found = defaultdict(list)
    for folder in folders:
        run = Run(folder)
        found[Path(str(run.shots.require().settings["data"])).name].append((run, Signs(run)))
    return found


def between(found: Found, sign: Callable[[Signs], float], harmed: str) -> tuple[float, float]:
    """The highest value elsewhere and the lowest where edits do harm; or, where it is the other way round, those."""
    there = [sign(signs) for _, signs in found[harmed]]
    elsewhere = [sign(signs) for task, runs in found.items() for _, signs in runs if task != harmed]
    sides = ((max(elsewhere), min(there)), (max(there), min(elsewhere)))
    return max(sides, key=lambda side: side[1] - side[0])


def table(found: Found, harmed: str) -> str:
    head = ["sign", *found, "gap", "middle"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for name, sign in SIGNS.items():
        values = [[sign(signs) for _, signs in runs] for runs in found.values()]
        low, high = between(found, sign, harmed)
        gap = [f"{high - low:.2f}", f"{(high + low) / 2:.2f}"] if high > low else ["none", ""]
        lines.append(" | ".join([name, *(f"{min(v):.2f} to {max(v):.2f}" for v in values), *gap]))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--harmed", required=True, help="the task where students lose by edits, as its data is called")
    parser.add_argument("--csv", action="store_true", help="a row for each run instead of the table")
    options = parser.parse_args()
    found = read(options.runs)
    if not options.csv:
        print(table(found, options.harmed))
        return
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["task", "k", "seed", *SIGNS])
    for task, runs in found.items():
        for run, signs in runs:
            values = [f"{sign(signs):.3f}" for sign in SIGNS.values()]
            rows.writerow([task, len(signs.shots), run.shots.require().seed, *values])


if __name__ == "__main__":
    main()
