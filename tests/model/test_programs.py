"""Compiled programs are kept between runs, and nothing depends on their being there."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from luxscale.model import programs

#: Compiles a program, prints its result and how many programs were read.
SCRIPT = """
import jax
from luxscale.model.jit import compile_program
read = []
jax.monitoring.register_event_listener(
    lambda event, **_: read.append(event) if event.endswith("/cache_hits") else None
)
@compile_program()
def add(values):
    if values.ndim > 1:
        raise TypeError("one dimension only")
    return values.sum()
print(float(add(jax.numpy.arange(5.0))), len(read) > 0)
"""


def run_script(root, script=SCRIPT, **variables):
    """Return what a process printed, and what it said on standard error."""
    env = {n: v for n, v in os.environ.items() if not n.startswith("JAX_")}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=env | {programs.PROGRAMS: str(root)} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split(), ended.stderr


def list_programs(root):
    return sorted(Path(root).glob("jax-*/*-cache"))


def test_a_program_is_compiled_once_and_again_where_it_is_damaged(tmp_path):
    assert run_script(tmp_path) == (["10.0", "False"], "")
    kept = list_programs(tmp_path)
    assert kept
    assert run_script(tmp_path) == (["10.0", "True"], "")
    assert list_programs(tmp_path) == kept
    for file in list_programs(tmp_path):
        file.write_bytes(file.read_bytes()[:-9])
    printed, said = run_script(tmp_path)
    assert printed == ["10.0", "False"]
    assert said.count("\n") == 1
    assert said.startswith("luxscale: a compiled program in ")
    assert "compiled again" in said
    assert list_programs(tmp_path) == []


def test_a_directory_that_cannot_be_made_is_said_once(tmp_path):
    (tmp_path / "taken").touch()
    printed, said = run_script(tmp_path / "taken")
    assert printed == ["10.0", "False"]
    assert said.startswith("luxscale: compiled programs cannot be kept (")
    assert f"set {programs.PROGRAMS} to another directory" in said
    assert said.count("\n") == 1


def test_an_error_of_the_program_itself_is_raised(tmp_path):
    wrong = SCRIPT.replace(
        "print(float(add(jax.numpy.arange(5.0))), len(read) > 0)",
        "try:\n    add(jax.numpy.ones((2, 2)))\nexcept TypeError as error:\n    print(error)",
    )
    assert run_script(tmp_path, wrong) == (["one", "dimension", "only"], "")


def test_a_cache_of_the_users_own_is_left_alone(tmp_path):
    own = tmp_path / "own"
    assert run_script(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(own))[1] == ""
    assert not (tmp_path / "ours").exists()


def test_none_are_kept_unless_asked_for(monkeypatch):
    config = SimpleNamespace(jax_compilation_cache_dir=None, jax_enable_compilation_cache=True)
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv(programs.PROGRAMS, raising=False)
        else:
            monkeypatch.setenv(programs.PROGRAMS, value)
        programs.open_programs(config)  # would fail: it has no update
        assert not programs.are_open(config)


@pytest.mark.parametrize(
    ("cache", "root"), [("/c", "/c/luxscale"), ("", "/home/x/.cache/luxscale")]
)
def test_the_command_line_keeps_them_in_the_users_cache(cache, root, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.delenv(programs.PROGRAMS, raising=False)
    programs.keep_programs()
    assert os.environ[programs.PROGRAMS] == root
    monkeypatch.setenv(programs.PROGRAMS, "")
    programs.keep_programs()
    assert os.environ[programs.PROGRAMS] == ""


def test_processes_of_other_threads_or_flags_have_programs_of_their_own(monkeypatch):
    names = set()
    for threads, flags in (("1", ""), ("2", ""), ("1", "--xla_backend_optimization_level=0")):
        monkeypatch.setenv("NPROC", threads)
        monkeypatch.setenv("XLA_FLAGS", flags)
        names.add(programs._describe_processor())
    assert len(names) == 3


def test_too_many_programs_are_made_anew(tmp_path, monkeypatch):
    old = tmp_path / "jax-0.0.1-other" / "program"
    old.parent.mkdir()
    old.write_bytes(bytes(100))
    monkeypatch.setenv(programs.PROGRAMS, str(tmp_path))
    settings = {}
    config = SimpleNamespace(jax_compilation_cache_dir=None, update=settings.__setitem__)
    programs.open_programs(config)
    assert old.exists()
    monkeypatch.setattr(programs, "_MOST_BYTES", 99)
    programs.open_programs(config)
    assert not old.exists()
    assert Path(settings["jax_compilation_cache_dir"]).is_dir()
