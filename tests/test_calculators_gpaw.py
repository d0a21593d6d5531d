"""GPAW of another Python, by a stand-in that has its files: no GPAW is needed."""

import hashlib
import sys

import pytest

from otf.calculators.foreign import foreign_code
from otf.errors import InputError

SEARCH = """
from pathlib import Path
FOLDER = Path({folder!r})

def search_for_file(name, world=None):
    found = sorted(FOLDER.glob(name))
    if not found:
        raise {error}(f'Could not find required PAW dataset file "{{name}}".')
    return str(found[-1]), found[-1].read_bytes()
"""
FUNCTIONAL = """
class XC:
    def __init__(self, name):
        if name == "nonsense":
            raise NameError("Unknown functional")
        self.name = name

    def get_setup_name(self):
        return self.name
"""
FILES = ("Si.PBE", "Si.LDA", "O.PBE", "O.soft.PBE", "C_ONCV_PBE-1.0.upf")


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Return a function that makes the entry of a GPAW with a few set-ups."""
    package = tmp_path / "packages" / "gpaw"
    package.mkdir(parents=True)
    setups = tmp_path / "setups"
    setups.mkdir()
    for name in FILES:
        (setups / name).write_text(f"set-up {name}")
    (package / "__init__.py").write_text("__version__ = '22.8.0'\n")
    (package / "xc.py").write_text(FUNCTIONAL)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    def make(*, missing="FileNotFoundError", **arguments):
        search = SEARCH.format(folder=str(setups), error=missing)
        (package / "setup_data.py").write_text(search)
        return foreign_code("gpaw", arguments, sys.executable)

    return make


def md5(name):
    return hashlib.md5(f"set-up {name}".encode()).hexdigest()


@pytest.mark.parametrize("missing", ["FileNotFoundError", "RuntimeError"])
def test_the_checksums_are_those_of_the_files_it_would_take(code, missing):
    entry = code(xc="PBE", missing=missing)
    assert entry.checksums == {"Si": md5("Si.PBE"), "O": md5("O.PBE")}
    assert entry.elements == {14, 8}
    assert entry.version.startswith("gpaw 22.8.0 ase ")
    assert "checksums.Si: " in entry.description()


@pytest.mark.parametrize(
    ("setups", "expected"),
    [
        ({"O": "soft"}, {"Si": "Si.PBE", "O": "O.soft.PBE"}),
        ({"O": ":p,2.0"}, {"Si": "Si.PBE", "O": "O.PBE"}),
        ({"default": "soft", "Si": "paw"}, {"Si": "Si.PBE", "O": "O.soft.PBE"}),
        ("sg15", {"C": "C_ONCV_PBE-1.0.upf"}),
    ],
)
def test_the_kind_of_a_set_up_names_its_file(code, setups, expected):
    found = code(xc="PBE", setups=setups).checksums
    assert found == {symbol: md5(name) for symbol, name in expected.items()}


def test_set_ups_that_gpaw_makes_itself_have_no_file(code):
    entry = code(xc="LDA", setups={"O": "hgh"})
    assert entry.checksums == {"Si": md5("Si.LDA"), "O": "built in"}


@pytest.mark.parametrize(
    ("functional", "words"),
    [
        ("nonsense", "cannot list the set-ups of GPAW: .*NameError"),
        ("RPBE", "GPAW finds no set-ups"),
    ],
)
def test_what_gpaw_does_not_have_is_one_line(code, functional, words):
    with pytest.raises(InputError, match=words) as caught:
        code(xc=functional)
    assert "\n" not in str(caught.value)
