"""A reference that does not come up: it hangs, dies or raises while it is imported."""

import sys
import time

import pytest
from ase.build import bulk

from otf.calculators.caller import CallFailed
from otf.calculators.foreign import foreign_code
from otf.calculators.worker import Order, Worker
from otf.cli import main
from otf.errors import InputError

ACTS = {
    "hangs": "print('loading weights', file=sys.stderr, flush=True); time.sleep(300)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "raises": "raise RuntimeError('no licence found')",
    "leaves": "raise SystemExit(3)",
}
MODULE = """
import os, signal, sys, time
if {where}:
    {act}
from otf.calculators.stillinger_weber import StillingerWeber as Calc
"""
IN_WORKER = "getattr(sys.modules['__main__'].__spec__, 'name', '').endswith('.worker')"
INPUT = """
[structure]
file = "start.xyz"
[reference]
calculator = "{how}:Calc"
start_limit_s = 3.0
[[dynamics.stages]]
steps = 4
temperature_K = 300.0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a calculator that behaves so at its import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(how, *, where="True"):
        name = f"{how}_in_worker" if where == IN_WORKER else how
        text = MODULE.format(act=ACTS[how], where=where)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (
            "hangs",
            CallFailed,
            r"no answer within 3 s .*start_limit_s.* were ended: loading weights",
        ),
        ("crashes", CallFailed, r"its process died \(SIGSEGV\)"),
        ("raises", InputError, "cannot be imported: RuntimeError: no licence found"),
        ("leaves", InputError, "cannot be imported: SystemExit: 3"),
    ],
)
def test_a_worker_that_does_not_come_up_is_one_line(module, how, error, words):
    worker = Worker(Order(f"{module(how)}:Calc"), start_limit=3.0)
    begun = time.monotonic()
    with pytest.raises(error, match=words) as caught:
        worker.start()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 30.0
    assert worker._process is None


@pytest.mark.parametrize(
    ("command", "how", "words"),
    [
        ("run", "hangs", "cannot import 'hangs' within 3 s: loading weights"),
        ("check", "crashes", "cannot import 'crashes': it died (SIGSEGV)"),
        ("run", "crashes", "cannot import 'crashes': it died (SIGSEGV)"),
        ("check", "raises", "cannot be imported: RuntimeError: no licence found"),
        ("run", "raises", "cannot be imported: RuntimeError: no licence found"),
    ],
)
def test_a_calculator_that_cannot_be_imported_is_a_mistake_of_the_input(
    module, tmp_path, capsys, command, how, words
):
    bulk("Si", cubic=True).write("start.xyz")
    (tmp_path / "input.toml").write_text(INPUT.format(how=module(how)))
    assert main([command, "input.toml"]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told
    assert "input file: [reference]" in told
    assert "\n" not in told
    assert not (tmp_path / "run").exists()


def test_a_run_whose_worker_hangs_at_its_start_ends(module, tmp_path, capsys):
    bulk("Si", cubic=True).write("start.xyz")
    name = module("hangs", where=IN_WORKER)
    (tmp_path / "input.toml").write_text(INPUT.format(how=name))
    assert main(["run", "input.toml"]) == 1
    told = capsys.readouterr().err.strip()
    assert "does not start: no answer within 3 s" in told
    assert "loading weights" in told
    assert "\n" not in told
    assert not (tmp_path / "run" / "journal.bin").exists()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("hangs", "cannot import 'hangs' within 3 s"),
        ("crashes", r"cannot import 'crashes': it died \(SIGSEGV\)"),
        ("raises", "cannot import 'raises': .*RuntimeError: no licence found"),
    ],
)
def test_another_python_that_does_not_come_up_is_one_line(
    module, monkeypatch, tmp_path, how, words
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=words) as caught:
        foreign_code(f"{module(how)}:Calc", {}, sys.executable, limit=3.0)
    assert "\n" not in str(caught.value)
