"""Sphinx configuration; input.md and commands.md are written from the code."""

from argparse import HelpFormatter
from functools import partial
from importlib.metadata import version
from pathlib import Path

from otf.cli import COMMANDS, build_parser
from otf.settings.describe import reference_page

HERE = Path(__file__).parent

project = "otf-md"
author = "The otf-md developers"
release = version("otf-md")
extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["amsmath", "dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True
html_theme = "furo"
html_title = "otf-md"


def commands_page() -> str:
    """Return the page of the command line in Markdown."""
    lines = [
        "# Commands",
        "",
        "`otf-md COMMAND --help` prints these texts. A command ends with 0 when all "
        "went well, 2 when the input was wrong, 1 when something else went wrong, 130 "
        "after Ctrl-C. Errors are one line each.",
    ]
    for name in COMMANDS:
        lines += ["", f"## {name}", "", "```text", _help_of(name), "```"]
    return "\n".join(lines) + "\n"


def _help_of(name: str) -> str:
    parser = build_parser(name)
    subparsers = next(a for a in parser._actions if a.dest == "command").choices
    subparsers[name].formatter_class = partial(HelpFormatter, width=88)
    return subparsers[name].format_help().strip()


def setup(app: object) -> None:
    """Write the generated pages where they differ from the code."""
    for name, text in GENERATED.items():
        path = HERE / name
        if not path.exists() or path.read_text() != text():
            path.write_text(text())


GENERATED = {"input.md": reference_page, "commands.md": commands_page}
