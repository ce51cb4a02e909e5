"""Which source files a job's result depends on, as one digest for the rule's ``params:``.

Snakemake does not see edits to imported modules. As ``input:`` they would rerun everything after a
fresh clone, which sets every file's time anew; a digest of what they say does not.
"""

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

from kdlm.study.schemas import SCHEMA_VERSION

__all__ = ["EXEMPT", "closure", "digest", "exempt"]

PACKAGE = Path(__file__).parent

EXEMPT = (
    "kdlm.study",
    "kdlm.storage",
    "kdlm.cli",
    "kdlm.errors",
    "kdlm.signals",
    "kdlm.sources",
    "kdlm.terminal",
)
"""Packages and modules left out of a digest.

Their effect on a job is in its spec or in `SCHEMA_VERSION`, or is not in its result at all.
"""


def exempt(module: str) -> bool:
    """Whether ``module`` is, or is in, one of `EXEMPT`."""
    return any(module == ground or module.startswith(f"{ground}.") for ground in EXEMPT)


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
    """``module`` and every module of the package that it imports, directly or not.

    Before a module Python runs the packages it is in.
    """
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        file = _file(current)
        ours = current.startswith("kdlm.") and not exempt(current)
        if file is None or not ours or current in reached:
            continue
        reached.add(current)
        imports = _Imports()
        imports.visit(ast.parse(file.read_bytes()))
        waiting += [*imports.found, current.rpartition(".")[0]]
    return frozenset(reached)


@cache
def _code(file: Path) -> str:
    """The text of a source file without comments, docstrings and blank lines.

    Neither ``ast.dump`` nor ``ast.unparse`` would do: both change with Python's version, and a
    result must not become outdated by an upgrade. Text that is cut out of the file stays the same.
    """
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        # a blank line inside a string is no such token, and stays
        if token.type in (tokenize.COMMENT, tokenize.NL):
            lines[row - 1] = f"{lines[row - 1][:column].rstrip()}\n".lstrip("\n")
    for node in ast.walk(ast.parse(source)):
        match node:
            # a string that is a statement of its own says something, and does nothing
            case ast.Expr(ast.Constant(str()), lineno=first, end_lineno=int(last)):
                lines[first - 1 : last] = [""] * (last - first + 1)
    return "".join(lines)


@cache
def digest(module: str) -> str:
    """SHA-256 over the sources that ``module`` runs, and the version of the tables' schemas."""
    total = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for name in sorted(closure(module)):
        file = _file(name)
        if file is not None:
            total.update(f"{name}\0{_code(file)}\0".encode())
    return total.hexdigest()[:16]
