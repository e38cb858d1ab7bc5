"""Settings of the documentation site, which Sphinx makes from the guide and the docstrings.

The package itself never imports this module. From a copy of the repository::

    pip install '.[docs]' && sphinx-build -W luxscale/guide build/site
"""

from __future__ import annotations

import shutil
from importlib.metadata import version as find_version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

project = "luxscale"
author = "luxscale developers"
release = version = find_version("luxscale")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["__pycache__", "_templates"]

nitpicky = True
default_role = "autolink"
smartquotes = False  # it would make a dash of the two hyphens of an option
myst_heading_anchors = 3

autodoc_typehints = "none"  # types, shapes and units stand in the sections of each docstring
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
copybutton_prompt_text = r">{3} |\.{3} "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"luxscale {release}"
html_show_sourcelink = False
html_theme_options = {"search_as_you_type": True, "navigation_with_keys": False}
html_context = {"default_mode": "light"}


def remove_generated_pages(app: Sphinx, config: Config) -> None:
    """Remove the pages of functions, which each build writes anew.

    The page of a function that is gone would be in no table of contents.
    """
    shutil.rmtree(Path(app.srcdir) / "generated", ignore_errors=True)


def setup(app: Sphinx) -> None:
    """Let Sphinx call the above before it lists the pages."""
    app.connect("config-inited", remove_generated_pages)
