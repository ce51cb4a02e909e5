"""The configuration of the documentation's site, which ``make docs`` builds with Sphinx.

The source folder is the checkout itself, so that links between README, docs/ and other folders are
the same on the site as in the repository.
"""

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "kdlm"
author = "The kdlm authors"
copyright = author  # noqa: A001 -- Sphinx's name
release = version = metadata.version("kdlm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "config_reference",
    "docstrings",
    "mathml",
]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "config/README.md",
    "results/README.md",
    "docs/**.md",
    "packages/*/README.md",
    "packages/*/docs/*.md",
]
exclude_patterns = [
    ".*",
    "build",
    "data",
    "packages/*/docs/intro.md",  # the first lines of the manual, for a catalog of plugins
    "results/*/**",
    "src",
    "tests",
]

# Warnings are errors in `make docs`. Pages of the plugin are parts of its catalog entry, which
# begin below the first level.
suppress_warnings = ["myst.header"]
nitpicky = True
# Names of other packages: their inventories are on the network, which a build does not use.
nitpick_ignore_regex = [
    ("py:.*", r"(?!kdlm\b).*"),
    # private validators in annotations, and type variables
    ("py:class", r"kdlm\..*\.(_\w+|\w+T)"),
]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4

default_role = "py:obj"
autodoc_default_options = {
    "exclude-members": "model_config",
    "member-order": "bysource",
    "members": True,
}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "kdlm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

FRONT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=docs/index.html">
<title>kdlm</title>
<a href="docs/index.html">kdlm</a>
</html>
"""


def write_front(app: Sphinx, error: Exception | None) -> None:
    """Lead from the site's root to its first page, which is in docs/ as in the repository."""
    if error is None and app.builder.format == "html":
        (app.outdir / "index.html").write_text(FRONT, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Have Sphinx call `write_front` when the site is built."""
    app.connect("build-finished", write_front)
