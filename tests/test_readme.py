"""README.md and .ci/run say the same, and what README.md shows is so."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from otf.cli import COMMANDS
from otf.settings import load_settings, parse_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- command: (\w+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]
COMMAND_BLOCKS = {name: text for name, _, text in BLOCKS if name}


def test_ci_runs_the_commands_of_the_readme_tests_first():
    listed = subprocess.run(
        [ROOT / ".ci" / "run", "--list"], capture_output=True, text=True, check=True
    )
    assert list(COMMAND_BLOCKS) == ["quickstart", "tests"]
    expected = COMMAND_BLOCKS["tests"] + COMMAND_BLOCKS["quickstart"]
    assert listed.stdout == expected


def test_ci_is_valid_shell():
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


@pytest.mark.parametrize("name", COMMAND_BLOCKS)
def test_a_command_starts_from_nothing_but_git_and_python(name):
    (line,) = COMMAND_BLOCKS[name].splitlines()
    steps = line.split(" && ")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert steps[0].startswith(f"git clone https://github.com/{project['name']}/")
    assert steps[1] == f"cd {steps[0].split()[-1]}"
    assert steps[2] == "python3 -m venv --upgrade-deps .venv"
    assert all(step.startswith(".venv/bin/") for step in steps[3:])


def test_the_commands_do_not_meet_in_one_folder():
    folders = [text.split(" && ")[1] for text in COMMAND_BLOCKS.values()]
    assert len(set(folders)) == len(folders)


def test_every_otf_md_command_shown_exists():
    shown = {
        word
        for _, _, text in BLOCKS
        for word in re.findall(r"(?:^|bin/)otf-md (\w+)", text, re.MULTILINE)
    }
    assert shown >= {"init", "check", "run", "show", "resume", "report"}
    assert shown <= set(COMMANDS)


def test_the_input_shown_is_a_complete_one():
    (text,) = [text for _, language, text in BLOCKS if language == "toml"]
    settings = parse_settings(text, name="README.md", folder=ROOT)
    assert settings.dynamics.n_steps == 10_000


def test_the_input_of_the_quickstart_is_valid():
    inputs = re.findall(r"otf-md run (\S+)", COMMAND_BLOCKS["quickstart"])
    assert inputs == ["examples/quickstart/input.toml"]
    settings = load_settings(ROOT / inputs[0])
    assert str(settings.directory.relative_to(ROOT)) in COMMAND_BLOCKS["quickstart"]


def test_every_local_link_leads_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert targets
    assert missing == []
