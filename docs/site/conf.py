"""How the documents become a site: `make docs`. The sources are the files of the project, with their own links."""

project = "Recurrent leg cramps: a CDS Hooks service"
extensions = ["myst_parser"]
root_doc = "docs/site/index"
include_patterns = [
    "*.md",
    "deploy/README.md",
    "docs/**",
    "logic/CATALOGUE.md",
    "logic/value_sets/README.md",
]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px", "fixed_sidebar": False, "sidebar_includehidden": False}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_copyright = False
html_copy_source = False
html_extra_path = ["root"]
highlight_language = "text"
