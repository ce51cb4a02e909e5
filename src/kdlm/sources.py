"""Which source files a job's result depends on, as one digest for the rule's ``params:``.

Snakemake does not see edits to imported modules. As ``input:`` they would rerun everything after a
fresh clone, which sets every file's time anew; a digest of their bytes does not.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from kdlm.tables import SCHEMA_VERSION

__all__ = ["EXEMPT", "closure", "digest"]

PACKAGE = Path(__file__).parent

EXEMPT = frozenset(
    # their effect on a job is in its spec or in SCHEMA_VERSION, or not in its result at all
    f"kdlm.{name}"
    for name in (
        "cli",
        "config",
        "errors",
        "files",
        "layout",
        "names",
        "provenance",
        "signals",
        "sources",
        "specs",
        "tables",
        "tolerances",
    )
)


def _file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Imports(ast.NodeVisitor):
    """Modules of the package that a module imports, outside ``if TYPE_CHECKING:``."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self.found |= {module} | {f"{module}.{alias.name}" for alias in node.names}


@cache
def closure(module: str) -> frozenset[str]:
    """``module`` and every module of the package that it imports, directly or not."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        file = _file(current)
        if file is None or not current.startswith("kdlm.") or current in reached | EXEMPT:
            continue
        reached.add(current)
        imports = _Imports()
        imports.visit(ast.parse(file.read_bytes()))
        waiting += imports.found
    return frozenset(reached)


@cache
def digest(module: str) -> str:
    """SHA-256 over the sources that ``module`` runs, and the version of the tables' schemas."""
    total = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for name in sorted(closure(module)):
        file = _file(name)
        if file is not None:
            total.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]
