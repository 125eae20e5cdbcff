"""How many small faults in the code the tests find, module by module: a score, and the faults that survive.

    python tests/bench/mutation.py                      # every module of MODULES
    python tests/bench/mutation.py mixes llm/journal    # some of them
    python tests/bench/mutation.py --at-most 60         # so many faults of each, drawn by a fixed seed

Each fault is one change of the syntax tree: a comparison, an operator, a number, a truth value, a condition turned
round, a statement left out. The module's own tests run on it in a forked process in which the heavy libraries are
imported already: mutmut and cosmic-ray start a process for each fault, which here costs ten seconds of imports.
Results are appended to ``--out`` and kept: the same command goes on. A fault that they do
not find is tried on the tests of ``WIDER``. Survivors and why they are none, or stay: ``README.md`` beside this file.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES: dict[str, list[str]] = {
    "errors": ["cli/test_exit_codes.py"],
    "cli/options": ["cli"],
    "mixes": ["test_mixes.py", "training/test_batches.py"],
    "metrics": ["test_metrics.py", "test_byclass.py"],
    "report/statistics": ["report/test_statistics.py"],
    "llm/endpoint": ["llm/test_endpoint.py", "llm/test_client.py"],
    "llm/journal": ["llm/test_journal.py"],
    "llm/pacing": ["llm/test_pacing.py", "llm/test_client.py"],
    "counterfactuals/revert": ["counterfactuals/test_revert.py"],
    "counterfactuals/verify": ["counterfactuals/test_verify.py", "counterfactuals/test_targets.py"],
    "counterfactuals/ledger": ["counterfactuals/test_ledger.py", "counterfactuals/test_contrast.py"],
    "training/batches": ["training/test_batches.py"],
    "training/trainset": ["training/test_ablate.py", "stages/test_distill.py", "stages/test_distill_contrast.py"],
    "training/objective": ["training/test_losses.py", "training/test_objective.py", "training/test_filters.py"],
    "training/layers": ["training/test_layers.py", "training/test_filters.py"],
}
# Slower tests, from end to end, for what a module's own tests do not find.
WIDER: dict[str, list[str]] = {
    "mixes": ["stages/test_distill_contrast.py", "stages/test_rival.py", "stages/test_distill.py"],
    "counterfactuals/revert": ["stages/test_counterfact.py"],
    "counterfactuals/verify": ["stages/test_counterfact.py", "stages/test_rival.py"],
    "counterfactuals/ledger": ["stages/test_counterfact.py", "stages/test_counterfact_contrast.py"],
    "training/objective": ["stages/test_distill.py"],
    "training/layers": ["stages/test_distill.py"],
    "training/batches": ["stages/test_distill.py"],
    "report/statistics": ["report"],
    "llm/journal": ["llm/test_client.py", "stages/test_counterfact.py"],
}
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_CHANGED = (
    *(ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Constant, ast.If, ast.IfExp, ast.While, ast.comprehension),
    *(ast.Expr, ast.AugAssign, ast.Return, ast.Continue, ast.Break),
)
# Seconds beside the tests' own time, times a factor, after which a fault counts as found: it made them hang.
PATIENCE = 20.0
LONGEST = 900.0


@dataclass(frozen=True)
class Fault:
    """One change of a module, and whether the tests found it."""

    module: str
    line: int
    column: int
    change: str
    found: bool | None = None


def faults(module: str, source: str) -> Iterator[tuple[Fault, Callable[[], ast.Module]]]:
    """Every fault of a module, and what makes the changed tree."""
    for number, (_, _, _, node) in enumerate(_places(ast.parse(source))):
        for variant in range(2):
            new = _change(node, variant)
            if new is not None:
                change = f"{_short(ast.unparse(node))} -> {_short(ast.unparse(new))}"
                place = getattr(node, "lineno", 0), getattr(node, "col_offset", number)
                yield Fault(module, *place, change), partial(_changed, source, number, variant)


def _changed(source: str, number: int, variant: int) -> ast.Module:
    tree = ast.parse(source)
    parent, name, index, node = next(itertools.islice(_places(tree), number, None))
    new = _change(node, variant)
    if index is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[index] = new
    return ast.fix_missing_locations(tree)


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any]]:
    """Every node that runs, with where it hangs: not annotations, decorators, docstrings and texts of messages."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases", "keywords") and not isinstance(
            tree, ast.Call
        ):
            continue
        if isinstance(tree, ast.Raise) or isinstance(value, ast.JoinedStr):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST):
                yield tree, name, index, node
                yield from _places(node)


def _change(node: ast.AST, variant: int) -> ast.AST | None:
    """The node with a fault, None where there is no (further) one."""
    # Those that cannot be changed are most.
    new: Any = copy.deepcopy(node) if isinstance(node, _CHANGED) else None
    match node:
        case ast.Compare(ops=[operator]) if variant == 0:
            new.ops = [COMPARISONS[type(operator)]()]
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if variant == 0 and type(operator) in OPERATORS:
            new.op = OPERATORS[type(operator)]()
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand) if variant == 0:
            new = operand
        case ast.Constant(value=bool(value)) if variant == 0:
            new.value = not value
        case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool):
            new.value = value + 1 if variant == 0 else 0
            return new if new.value != value else None
        case ast.If() | ast.IfExp() | ast.While() if variant == 0:
            new.test = ast.UnaryOp(ast.Not(), new.test)
        case ast.comprehension(ifs=[_, *_]) if variant == 0:
            new.ifs = []
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() if variant == 0:
            new = ast.Pass()
        case ast.Return(value=ast.expr()) if variant == 0 and not isinstance(node.value, ast.Constant):
            new.value = ast.Constant(None)
        case ast.Continue() if variant == 0:
            new = ast.Break()
        case ast.Break() if variant == 0:
            new = ast.Continue()
        case _:
            return None
    return new


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:89]}…"


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, tree: ast.Module, path: Path) -> None:
        self.name, self.tree, self.path = name, tree, path

    def find_spec(self, fullname: str, *_: Any) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def passes(module: str, make: Callable[[], ast.Module] | None, tests: Sequence[str], seconds: float | None) -> bool:
    """Whether the tests pass on a changed module, in a process of their own; not if they take longer."""
    child = os.fork()
    if child == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        if make is not None:
            name = f"cod_cli.{module.replace('/', '.')}"
            sys.meta_path.insert(0, _Changed(name, make(), ROOT / "cod_cli" / f"{module}.py"))
        import pytest

        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not slow"]
        code = 1
        try:
            code = int(pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)]))
        finally:
            os._exit(code)
    deadline = None if seconds is None else time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if deadline is not None and time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1]) == 0


def measure(module: str, tests: Sequence[str], at_most: int | None, out: Path) -> list[Fault]:
    """The faults of one module, as the tests find them; those in ``out`` are not tried again."""
    source = (ROOT / "cod_cli" / f"{module}.py").read_text(encoding="utf-8")
    everything = list(faults(module, source))
    chosen = everything
    if at_most is not None and len(everything) > at_most:
        chosen = random.Random(0).sample(everything, at_most)
    known = read(out)
    started = time.monotonic()
    todo = [(fault, make) for fault, make in chosen if fault not in known]
    if todo and not passes(module, None, tests, None):
        sys.exit(f"the tests of {module} fail without a fault")
    longest = PATIENCE + 4 * (time.monotonic() - started)
    for fault, make in todo:
        survives = passes(module, make, tests, longest)
        if survives and module in WIDER:
            survives = passes(module, make, WIDER[module], LONGEST)
        known[fault] = not survives
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(replace(fault, found=known[fault]))) + "\n")
    tried = [replace(fault, found=known[fault]) for fault, _ in chosen]
    caught = sum(bool(fault.found) for fault in tried)
    print(f"{module}: {caught} of {len(tried)} found ({caught / max(len(tried), 1):.1%}), of {len(everything)} in all")
    for fault in tried:
        if not fault.found:
            print(f"  survives: line {fault.line}: {fault.change}", flush=True)
    return tried


def read(out: Path) -> dict[Fault, bool]:
    """What was tried before, and whether it was found."""
    tried = [Fault(**json.loads(line)) for line in out.read_text().splitlines()] if out.exists() else []
    return {replace(fault, found=None): bool(fault.found) for fault in tried}


def main() -> None:
    """Measure the modules that are named, else all; print the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"some of: {', '.join(MODULES)}")
    parser.add_argument("--at-most", type=int, help="faults of each module, drawn by a fixed seed")
    parser.add_argument("--out", type=Path, default=Path("mutation.jsonl"), help="where results are kept")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(ROOT))
    for library in ("pytest", "numpy", "scipy.stats", "sklearn.metrics", "torch", "transformers", "openai", "pydantic"):
        importlib.import_module(library)
    tried: list[Fault] = []
    for module in arguments.modules or MODULES:
        tried += measure(module, MODULES[module], arguments.at_most, arguments.out)
    caught = sum(bool(fault.found) for fault in tried)
    print(f"all: {caught} of {len(tried)} found: {caught / max(len(tried), 1):.1%}")


if __name__ == "__main__":
    main()
