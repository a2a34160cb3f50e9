"""How Sphinx builds the book, and what it renders itself: the gallery of weather and the table of protocols."""
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import rendered  # noqa: E402

from mmweather import __version__  # noqa: E402

project = 'mmweather'
author = 'The mmweather authors'
project_copyright = 'the mmweather authors, Apache-2.0'
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.mathjax', 'sphinx.ext.viewcode']
myst_enable_extensions = ['dollarmath', 'colon_fence', 'deflist']
myst_heading_anchors = 3
# Formulas of the method pages stand in fences of their own language.
myst_fence_as_directive = ['math']
exclude_patterns = ['_build', '_generated/*.md']
html_theme = 'furo'
html_title = f'mmweather {__version__}'
html_static_path = []

autodoc_member_order = 'bysource'
autodoc_default_options = dict(members=True)
autodoc_typehints = 'none'
# an extra, which the book can do without
autodoc_mock_imports = ['gradio']
# Docstrings name types as MMEngine's do ('Tensor', 'dict'), in prose, and not as references to be resolved.
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True
# The pages on restoring and on speed are found by a pattern.
suppress_warnings = ['toc.empty_glob']


def setup(app):
    """Renders before anything is read."""
    app.connect('builder-inited', lambda app: rendered.render(DOCS / '_generated'))
