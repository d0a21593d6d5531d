"""Sphinx configuration; input.md and commands.md are written from the code."""

from argparse import Action
from importlib import metadata
from pathlib import Path

from otf.cli import COMMANDS, build_parser
from otf.settings.describe import reference_page

HERE = Path(__file__).parent

project = "otf-md"
author = "The otf-md developers"
release = metadata.version("otf-md")
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
        "A command ends with 0 when all went well, 2 when the input was wrong, 1 when "
        "something else went wrong, 130 after Ctrl-C, and 128 + n when signal n "
        "stopped a run. Errors are one line each.",
    ]
    for name, meaning in COMMANDS.items():
        lines += ["", f"## {name}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        actions = _actions(name)
        kinds = next((a for a in actions if a.dest == "kind"), None)
        if kinds is None:
            lines += _table(actions)
            continue
        for title, parser in kinds.choices.items():
            lines += [f"### {name} {title}", "", parser.description, ""]
            lines += [*_table(parser._actions), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _actions(name: str) -> list[Action]:
    parsers = next(a for a in build_parser(name)._actions if a.dest == "command")
    return list(parsers.choices[name]._actions)


def _table(actions: list[Action]) -> list[str]:
    rows = [_row(action) for action in actions if action.dest != "help"]
    return ["| argument | meaning |", "|---|---|", *rows]


def _row(action: Action) -> str:
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    text = (action.help or "") % {"default": action.default}
    place = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"| {names or f'`{place}`'} | {text} |"


def setup(app: object) -> None:
    """Write the generated pages where they differ from the code."""
    for name, text in GENERATED.items():
        path = HERE / name
        if not path.exists() or path.read_text() != text():
            path.write_text(text())


GENERATED = {"input.md": reference_page, "commands.md": commands_page}
