"""A digest of the source files that a job's result depends on, for the ``params:`` of its rule.

Snakemake does not notice edits to imported modules. If the source files were the rule's ``input:``,
everything would rerun after a fresh clone, which gives all files new times. A digest of their text
changes only when the code does.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


_PAGES = (".css", ".html", ".js")


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


@dataclass(frozen=True)
class _Source:
    """What a digest needs to know about a source file."""

    code: str
    """The text of the file without comments, docstrings and blank lines."""
    imports: frozenset[str]
    """The names of the modules that it imports, outside ``if TYPE_CHECKING:``."""


@cache
def _read(file: Path) -> _Source:
    """Read a source file, and parse it once for its code and for its imports."""
    source = file.read_text(encoding="utf-8")
    body = ast.parse(source).body
    return _Source(_code(source, body), frozenset(_imports(body)))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements directly inside a statement.

    An import and a docstring are statements, and expressions, which are most of a file's nodes,
    contain none. To look at all nodes would take several times as long.
    """
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        yield from getattr(node, field, ())


def _imports(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names of the modules that these statements import."""
    for node in body:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names):
                yield module or ""
                yield from (f"{module or ''}.{alias.name}" for alias in names)
        yield from _imports(_inside(node))


def _docstrings(body: Iterable[ast.AST]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last line of each string that is a statement of its own."""
    for node in body:
        match node:
            case ast.Expr(ast.Constant(str()), lineno=first, end_lineno=int(last)):
                yield first, last
        yield from _docstrings(_inside(node))


def _code(source: str, body: Iterable[ast.AST]) -> str:
    """Return the text of a source file without comments, docstrings and blank lines.

    The text is cut out of the file. The output of ``ast.dump`` or ``ast.unparse`` changes with the
    version of Python, so a digest of it would outdate all results at an upgrade.

    Args:
        source: the text of the file.
        body: its statements, parsed.

    """
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # NL is the token of a blank line; a blank line inside a string is not a token, so it stays
        if token.type in (tokenize.COMMENT, tokenize.NL):
            row, column = token.start
            lines[row - 1] = f"{lines[row - 1][:column].rstrip()}\n".lstrip("\n")
    for first, last in _docstrings(body):
        # a docstring has no effect
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "".join(lines)


def _pages(file: Path) -> list[Path]:
    """Return the parts of a page that stand beside the ``__init__.py`` of a package."""
    if file.name != "__init__.py":
        return []
    return sorted(page for page in file.parent.iterdir() if page.suffix in _PAGES)


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
        waiting += [*_read(file).imports, current.rpartition(".")[0]]
    return frozenset(reached)


@cache
def digest(module: str) -> str:
    """Return 16 hexadecimal digits of a SHA-256 that identify the code behind ``module``.

    The hash is over the text of all modules of `closure`, without comments, docstrings and blank
    lines, over the parts of a page in their packages, and over `SCHEMA_VERSION`.
    """
    total = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for name in sorted(closure(module)):
        file = _file(name)
        if file is not None:
            total.update(f"{name}\0{_read(file).code}\0".encode())
            for page in _pages(file):
                total.update(f"{page.name}\0{page.read_text(encoding='utf-8')}\0".encode())
    return total.hexdigest()[:16]
