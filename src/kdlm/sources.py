"""A digest of the source files that a job's result depends on, for the ``params:`` of its rule.

Snakemake does not notice edits to imported modules. If the source files were the rule's ``input:``,
everything would rerun after a fresh clone, which gives all files new times. A digest of their text
changes only when the code does.
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

What they do to a job's result is in the job's spec or in `SCHEMA_VERSION`, or they do not change
the result at all.
"""


def exempt(module: str) -> bool:
    """Return whether digests leave out ``module``: it is in `EXEMPT`, or in a package that is.

    >>> exempt("kdlm.study.config"), exempt("kdlm.losses")
    (True, False)
    """
    return any(module == ground or module.startswith(f"{ground}.") for ground in EXEMPT)


def _file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Imports(ast.NodeVisitor):
    """Collects the names of the modules that a module imports, outside ``if TYPE_CHECKING:``."""

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
    """Return ``module`` and all modules of kdlm that it imports, directly or through others.

    The subpackage that a module is in is among them, since Python runs its ``__init__`` before the
    module. Modules that digests leave out are not among them.

    >>> "kdlm.divergences" in closure("kdlm.losses"), "kdlm.errors" in closure("kdlm.losses")
    (True, False)
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
    """Return the text of a source file without comments, docstrings and blank lines.

    The text is cut out of the file. The output of ``ast.dump`` or ``ast.unparse`` changes with the
    version of Python, so a digest of it would outdate all results at an upgrade.
    """
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        # NL is the token of a blank line; a blank line inside a string is not a token, so it stays
        if token.type in (tokenize.COMMENT, tokenize.NL):
            lines[row - 1] = f"{lines[row - 1][:column].rstrip()}\n".lstrip("\n")
    for node in ast.walk(ast.parse(source)):
        match node:
            # a string that is a statement of its own is a docstring: it has no effect
            case ast.Expr(ast.Constant(str()), lineno=first, end_lineno=int(last)):
                lines[first - 1 : last] = [""] * (last - first + 1)
    return "".join(lines)


@cache
def digest(module: str) -> str:
    """Return 16 hexadecimal digits of a SHA-256 that identify the code behind ``module``.

    The hash is over the text of all modules of `closure`, without comments, docstrings and blank
    lines, and over `SCHEMA_VERSION`.
    """
    total = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for name in sorted(closure(module)):
        file = _file(name)
        if file is not None:
            total.update(f"{name}\0{_code(file)}\0".encode())
    return total.hexdigest()[:16]
