"""Contract of the layer check: no module imports itself, directly or through others.

The `acyclic_siblings` contract compares the children of each package; this one adds cycles between
a package's __init__ and the modules in it. Imports for type checking count unless
`ignore_imports` names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from importlinter import Contract, ContractCheck, fields, output
from importlinter.application import contract_utils
from importlinter.application.contract_utils import AlertLevel

if TYPE_CHECKING:
    from grimp import ImportGraph


class AcyclicModulesContract(Contract):
    """No chain of imports leads from a module back to itself.

    Attributes:
        ignore_imports: Imports that do not count.
        unmatched_ignore_imports_alerting: Severity of an entry of `ignore_imports` without a
            matching import.
    """

    type_name = "acyclic_modules"

    # The base class replaces each field by the value of its option: a type that it cannot state.
    ignore_imports: Any = fields.SetField(subfield=fields.ImportExpressionField(), required=False)
    unmatched_ignore_imports_alerting: Any = fields.EnumField(AlertLevel, default=AlertLevel.ERROR)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the shortest way back for every import."""
        removed = contract_utils.remove_ignored_imports_and_report(
            graph, self.ignore_imports, self.unmatched_ignore_imports_alerting
        )
        output.verbose_print(verbose, "Searching for cycles between modules...")
        cycles = set()
        for importer in sorted(graph.modules):
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                if back := graph.find_shortest_chain(imported, importer):
                    cycles.add(_from_smallest(back))
        return ContractCheck(
            kept=not cycles,
            metadata={"cycles": sorted(cycles)},
            warnings=list(removed.warnings),
            ignored_import_count=removed.ignored_import_count,
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line a cycle."""
        for cycle in check.metadata["cycles"]:
            output.print_error(f"- {' -> '.join((*cycle, cycle[0]))}", bold=False)


def _from_smallest(cycle: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same cycle from its first module in the alphabet on."""
    start = cycle.index(min(cycle))
    return cycle[start:] + cycle[:start]
