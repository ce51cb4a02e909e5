"""Three corrections of the API pages that autodoc makes from docstrings."""

from docutils import nodes
from pydantic import BaseModel
from sphinx import addnodes
from sphinx.application import Sphinx


def escape_bars(
    _app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Put a backslash before each vertical bar of a docstring, in place, but not in sessions.

    Here bars stand for absolute values; in reStructuredText, as which Sphinx reads docstrings, they
    would mark the name of a substitution.
    """
    in_session = False
    for number, line in enumerate(lines):
        in_session = line.lstrip().startswith(">>>") or (in_session and bool(line.strip()))
        if not in_session:
            lines[number] = line.replace("|", "\\|")


def hide_keys(
    _app: Sphinx, _what: str, _name: str, thing: object, *_: object
) -> tuple[str, str] | None:
    """Show no signature of a model of a config: docs/configuration.md has its keys, in tables."""
    is_model = isinstance(thing, type) and issubclass(thing, BaseModel)
    return ("", "") if is_model else None


def hide_values(_app: Sphinx, page: nodes.document) -> None:
    """Remove the values of constants, which can fill a screen; a default in a signature stays.

    autodoc's own option for this has no effect on the members of a module.
    """
    for annotation in list(page.findall(addnodes.desc_annotation)):
        if annotation.astext().startswith(" = "):
            annotation.parent.remove(annotation)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx call these functions for every docstring, signature and page."""
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-process-signature", hide_keys)
    app.connect("doctree-read", hide_values)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
