"""The documentation: generated pages are those of the code, inputs shown are valid."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from otf.settings.describe import all_sections, keys_of, reference_page
from otf.settings.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)


def test_the_input_reference_is_that_of_the_settings():
    assert (DOCS / "input.md").read_text() == reference_page()


def test_the_command_page_is_that_of_the_command_line():
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    assert (DOCS / "commands.md").read_text() == conf.commands_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_keys_named_on_a_page_exist(page):
    known = {key.name for key in keys_of(Settings)}
    for _, model in all_sections():
        known |= {key.name for key in keys_of(model)}
    units = ("_A", "_K", "_fs", "_eV", "_GPa", "_h", "_GB", "_per_ps", "_per_atom")
    named = re.findall(r"`(\w+)`", page.read_text())
    assert [word for word in named if word.endswith(units) and word not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_inputs_shown_on_a_page_have_known_keys(page):
    sections = {header.strip("[]"): model for header, model in all_sections()}
    for text in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        for name, table in tomllib.loads(text).items():
            assert set(table) <= set(sections[name].model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_local_links_of_a_page_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
