"""Import cycles between modules and between sibling packages, lazy imports included.

    python tools/verify/import_graph.py

prints each cycle with the imports that close it and exits 1 if there is one. Every import statement
counts, inside functions too, and every string that is a module's dotted name, which importlib may
load; except under `if TYPE_CHECKING:`, which no program runs.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("sdk", "engines", "calibration", "tools")
_Importing = ast.Import | ast.ImportFrom | ast.Constant
_Graph = Mapping[str, Set[str]]


@dataclass(frozen=True)
class Import:
    """One import between two modules of the project.

    Attributes:
        importer: Module that holds it; a package's __init__ goes by the package's name.
        imported: Module it names.
        line: Line of the statement or string.
    """

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@dataclass(frozen=True)
class Cycle:
    """Modules or packages of which each imports each, directly or through others.

    Attributes:
        members: Names of the modules or packages, sorted.
        imports: Every import from one member to another.
    """

    members: tuple[str, ...]
    imports: tuple[Import, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.members)} ({'; '.join(map(str, self.imports))})"


def find_modules(root: Path) -> dict[str, Path]:
    """Return the files of all modules of the project's packages, by dotted name."""
    modules = {}
    for source in SOURCES:
        for package in sorted((root / source).glob("fasdk*/__init__.py")):
            for path in sorted(package.parent.rglob("*.py")):
                parts = path.relative_to(root / source).with_suffix("").parts
                modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def read_imports(modules: Mapping[str, Path]) -> list[Import]:
    """Return every import from one of `modules` to another that can happen at run time."""
    found: dict[Import, None] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in _run_time_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node, package, modules):
                if target != name:
                    found[Import(name, target, node.lineno)] = None
    return list(found)


def module_cycles(imports: list[Import]) -> list[Cycle]:
    """Return the cycles between modules."""
    graph = defaultdict(set)
    for one in imports:
        graph[one.importer].add(one.imported)
    return [
        Cycle(members, tuple(i for i in imports if {i.importer, i.imported} <= set(members)))
        for members in _components(graph)
    ]


def sibling_cycles(imports: list[Import]) -> list[Cycle]:
    """Return the cycles between siblings, the modules and subpackages of one package.

    An import counts for the two siblings that hold its ends, at the depth where the names part.
    """
    graphs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    crossing: dict[tuple[str, str], list[Import]] = defaultdict(list)
    for one in imports:
        if siblings := _siblings(one):
            importer, imported = siblings
            graphs[importer.rpartition(".")[0]][importer].add(imported)
            crossing[siblings].append(one)
    return [
        Cycle(
            members,
            tuple(
                one
                for (importer, imported), ones in sorted(crossing.items())
                if {importer, imported} <= set(members)
                for one in ones
            ),
        )
        for _, graph in sorted(graphs.items())
        for members in _components(graph)
    ]


def _run_time_nodes(node: ast.AST) -> Iterator[_Importing]:
    if isinstance(node, _Importing):
        yield node
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        children = list(node.orelse)
    for child in children:
        yield from _run_time_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _targets(node: _Importing, package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        # "package.module" or "package.module:attribute"; a name without a dot may be anything, and
        # a module's own package, of which it may name a resource, is loaded before it.
        name = node.value.partition(":")[0] if isinstance(node.value, str) else ""
        if "." in name and name in modules and not f"{package}.".startswith(f"{name}."):
            yield name
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        above = ".".join(parts[: len(parts) - node.level + 1])
        base = f"{above}.{base}" if base else above
    for alias in node.names:
        submodule = f"{base}.{alias.name}"
        if submodule in modules:
            yield submodule
        elif base in modules and not modules[base].with_name(f"{alias.name}.pyi").is_file():
            yield base  # a stub beside it is a compiled module, which imports nothing of ours


def _siblings(one: Import) -> tuple[str, str] | None:
    """Return the siblings an import connects; None within a package and its own __init__."""
    left, right = one.importer.split("."), one.imported.split(".")
    shared = 0
    while shared < min(len(left), len(right)) and left[shared] == right[shared]:
        shared += 1
    if shared in {len(left), len(right)}:
        return None
    return ".".join(left[: shared + 1]), ".".join(right[: shared + 1])


def _components(graph: _Graph) -> list[tuple[str, ...]]:
    """Return the strongly connected components of more than one node, each sorted."""
    reached = {node: _reachable(graph, node) for node in graph}
    found = {
        tuple(sorted({node, *(o for o in others if node in reached.get(o, ()))}))
        for node, others in reached.items()
        if node in others
    }
    return sorted(found)


def _reachable(graph: _Graph, start: str) -> set[str]:
    reached: set[str] = set()
    pending = list(graph[start])
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            pending.extend(graph.get(node, ()))
    return reached


def main() -> int:
    """Print every cycle and return 1 if there is one."""
    imports = read_imports(find_modules(ROOT))
    cycles = [f"modules: {cycle}" for cycle in module_cycles(imports)]
    cycles += [f"siblings: {cycle}" for cycle in sibling_cycles(imports)]
    print("\n".join(cycles) or f"no import cycle among {len(imports)} imports")
    return 1 if cycles else 0


if __name__ == "__main__":
    sys.exit(main())
