"""How Sphinx builds the site: `python -m sphinx -W --keep-going -b html docs build/site`.

The pages are the Markdown files of this folder. Three folders are made by the build: `api` from
docstrings, `gallery` from the examples, which it runs, and `project` from files of the root. The
build needs no network.
"""

import os
import sys
import tomllib
import warnings
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from extensions.categories import CATEGORIES  # noqa: E402 - a folder of the path above

# Before JAX starts, in this process and in those that run examples: some use eight devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# What runs examples side by side starts a process anew once it holds much memory, as one does after
# some examples, and warns of it.
warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)

project = "Asgard"
author = "The Asgard authors"
project_copyright = author
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release

extensions = [
    "myst_nb",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
    "extensions.api",
    "extensions.repository",
    "extensions.names",
    "extensions.checked",
]
exclude_patterns = ["extensions", "drawings"]
exclude_patterns += [f"gallery/**.{kind}" for kind in ("py", "ipynb", "zip", "json", "md5")]
python_maximum_signature_line_length = 72
nitpicky = True
# Signatures name types of Python and JAX; only our own names have a page.
nitpick_ignore_regex = [("py:.*", r"(?!asgard\.).*")]
suppress_warnings = ["config.cache"]

# Tests run the code of all pages and compare what it prints: the build runs the gallery only.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": [f"../examples/{category}" for category in CATEGORIES],
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", "extensions.examples.reset"),
    "parallel": 4,  # of which two or so run: each category waits for its last example
    "image_scrapers": ("matplotlib",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # pages that load scripts from servers
    "plot_gallery": "True",
    "min_reported_time": 5,
}

html_theme = "pydata_sphinx_theme"
html_title = "Asgard"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_logo = "images/logo.svg"
html_favicon = "images/logo.svg"
html_show_sourcelink = False
# Pages without others below them have no list at their side.
html_sidebars = {page: [] for page in ("index", "start", "choosing")}
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "logo": {"text": "Asgard"},
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
