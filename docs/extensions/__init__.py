"""What the site needs beyond Sphinx: pages from docstrings, from files of the root, and links."""
