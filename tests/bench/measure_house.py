"""The house in numbers, of this checkout or of another: ``python tests/bench/measure_house.py [FOLDER]``."""

import argparse
import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

PACKAGE = "cod_cli"
SMALL = 60


def modules_of(root: Path) -> dict[str, Path]:
    """The modules of the package by dotted name; a package is named like its folder."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a module imports, one for each statement that names it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules and alias.name != name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            source = node.module or ""
            within = {f"{source}.{alias.name}" for alias in node.names} & modules.keys()
            yield from within or {source}


def function_lengths(paths: list[Path]) -> list[int]:
    """Lines of each function from ``def`` to its end, docstring included."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in paths)
    functions = (node for tree in trees for node in ast.walk(tree))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.end_lineno or 0) - node.lineno + 1 for node in functions if isinstance(node, kinds)]


def layers_of(root: Path) -> int:
    """Rows of the contract of layers."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    return max(len(contract["layers"]) for contract in contracts if contract["type"] == "layers")


def tests_of(root: Path) -> int:
    """Test functions; what is parametrized counts once."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (root / "tests").rglob("test_*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return sum(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in nodes)


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[2])
    root = parser.parse_args().folder
    modules = modules_of(root)
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules.items()}
    arrows = [(name, other) for name, path in modules.items() for other in imports_of(name, path, modules)]
    importers = Counter(other for _, other in set(arrows))
    own = {name: path for name, path in modules.items() if path.stem not in ("__init__", "__main__")}
    folder, most = Counter(path.parent for path in own.values()).most_common(1)[0]
    lonely = [name for name in own if lines[name] < SMALL and importers[name] == 1]
    lengths = function_lengths(list(modules.values()))
    total = sum(lines.values())
    print(f"modules in the largest folder     {most} ({folder.relative_to(root)})")
    print(f"layers of the import contract     {layers_of(root)}")
    print(f"internal imports per 1,000 lines  {1000 * len(arrows) / total:.0f}")
    print(f"under {SMALL} lines, one importer     {len(lonely)} {' '.join(lonely)}")
    print(f"modules, lines                    {len(modules)}, {total}")
    p90 = quantiles(lengths, n=10)[-1]
    print(f"functions: median, p90, longest   {median(lengths):.0f}, {p90:.0f}, {max(lengths)}")
    print(f"test functions                    {tests_of(root)}")


if __name__ == "__main__":
    main()
