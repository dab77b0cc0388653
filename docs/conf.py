"""How sphinx builds the documentation: `make docs`; nothing is fetched from anywhere."""

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # its pictures are of small networks
# Local clusters begin as other workers do, not by running what builds these pages again.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")

import dvis  # noqa: E402  # after the lines that it is to see

project = "dvis"
author = "The dvis authors"
copyright = "the dvis authors, MIT licence"
version = release = dvis.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "extensions.accessor",
    "extensions.commands",
    "extensions.mathml",
    "extensions.papers",
    "extensions.pictures",
]
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "tutorials/*.py", "tutorials/*.rst", "generated/tutorials/sg_*"]
suppress_warnings = [
    "config.cache"
]  # the order of tutorials is a list of names, and is pickled anew

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
math_renderer = "mathml"
html_math_renderer = "mathml"

autosummary_generate = True
autosummary_generate_overwrite = True
autodoc_typehints = "none"  # numpydoc's entries say it in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"dvis {release}"
html_static_path = ["static"]
html_css_files = ["dvis.css"]
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["generated/tutorials"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib", "extensions.figures.scraped"),
    "write_computation_times": False,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "min_reported_time": 1,
    "reset_modules": ("matplotlib",),
    "plot_gallery": "True",
}
# What writes from within examples: a worker process that is forked while others run.
warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
