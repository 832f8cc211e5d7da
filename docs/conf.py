"""Sphinx: `make docs` builds docs/_build/html, every warning an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import asyncpq

project = "asyncpq"
author = "the asyncpq contributors"
version = release = asyncpq.__version__
project_copyright = author
html_title = f"asyncpq {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "promises"]
exclude_patterns = ["_build", "examples/*"]
default_role = "py:obj"  # `put` in a docstring leads to put
add_module_names = False

# Names of the standard library, of typing and of modules that are not public have no page to lead to.
nitpick_ignore_regex = [("py:.*", r"(?!asyncpq\.[A-Za-z]+$).*")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["asyncpq.css"]
html_copy_source = False
html_show_sphinx = False
highlight_language = "none"  # a block that names no language is a picture

# A registry's client may be all that reaches the network: `make docs-links` says what could not be reached.
linkcheck_timeout = 10
linkcheck_retries = 1
linkcheck_anchors = False
