"""Compiled programs are kept between runs, and nothing depends on their being there."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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
    return sorted(Path(root).glob("jax-*/*.program"))


def test_a_program_is_compiled_once_and_again_where_it_is_damaged(tmp_path):
    assert run_script(tmp_path / "kept") == (["10.0", "False"], "")
    kept = list_programs(tmp_path / "kept")
    assert kept
    assert run_script(tmp_path / "kept") == (["10.0", "True"], "")
    contents = [file.read_bytes() for file in kept]
    for file, content in zip(kept, contents, strict=True):
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    printed, said = run_script(tmp_path / "kept")
    assert printed == ["10.0", "False"]
    assert said.count("\n") == 1
    assert said.startswith("luxscale: what was kept in ")
    assert "is damaged; it is made again" in said
    assert list_programs(tmp_path / "kept") == kept
    assert run_script(tmp_path / "kept") == (["10.0", "True"], "")


def test_the_directory_is_the_users_alone(tmp_path):
    run_script(tmp_path / "kept")
    for folder in (tmp_path / "kept", *(tmp_path / "kept").iterdir()):
        assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "kept").chmod(0o775)
    printed, said = run_script(tmp_path / "kept")
    assert printed == ["10.0", "False"]
    assert said.startswith("luxscale: compiled programs cannot be kept (")
    assert "kept is not this user's alone to write to" in said


def test_what_else_is_there_stays(tmp_path, monkeypatch):
    other = tmp_path / "data" / "spectra.fits"
    other.parent.mkdir()
    other.write_bytes(bytes(200))
    monkeypatch.setattr(programs, "_MOST_BYTES", 99)
    programs._remove_old(tmp_path)
    assert other.exists()


REMOVED = """
import os, shutil
from jax import numpy as jnp
shutil.rmtree(os.environ["LUXSCALE_PROGRAMS"])
print(float(jnp.cos(jnp.zeros(7)).sum()))
"""


def test_the_directory_may_be_removed_meanwhile(tmp_path):
    assert run_script(tmp_path / "kept", SCRIPT + REMOVED) == (["10.0", "False", "7.0"], "")
    assert list_programs(tmp_path / "kept")


FULL = """
import errno
from jax import numpy as jnp
from luxscale.model import programs
def refuse(file, content):
    raise OSError(errno.EDQUOT, "Disk quota exceeded")
programs._write = refuse
print(float(jnp.cos(jnp.zeros(7)).sum()))
"""


def test_a_disk_that_is_full_is_said_once(tmp_path):
    printed, said = run_script(tmp_path / "kept", SCRIPT + FULL)
    assert printed == ["10.0", "False", "7.0"]
    assert "cannot be kept ([Errno" in said
    assert "Disk quota exceeded" in said
    assert said.count("\n") == 1


def test_processes_at_once_read_only_what_is_complete(tmp_path):
    def start(_):
        return run_script(tmp_path / "kept")

    with ThreadPoolExecutor(3) as pool:
        for printed, said in pool.map(start, range(3)):
            assert printed[0] == "10.0"
            assert said == ""
    assert run_script(tmp_path / "kept") == (["10.0", "True"], "")


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
    config = SimpleNamespace(jax_compilation_cache_dir=None)
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv(programs.PROGRAMS, raising=False)
        else:
            monkeypatch.setenv(programs.PROGRAMS, value)
        programs.open_programs(config)  # would fail: it has no update


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


def test_a_user_without_a_home_keeps_none(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(programs.PROGRAMS, raising=False)
    programs.keep_programs()
    assert os.environ[programs.PROGRAMS] == ""


def test_processes_of_other_threads_or_flags_have_programs_of_their_own(monkeypatch):
    names = set()
    for threads, flags in (("1", ""), ("2", ""), ("1", "--xla_backend_optimization_level=0")):
        monkeypatch.setenv("NPROC", threads)
        monkeypatch.setenv("XLA_FLAGS", flags)
        names.add(programs._describe_processor())
    assert len(names) == 3


def test_of_too_many_programs_the_oldest_go(tmp_path, monkeypatch):
    place = tmp_path / "jax-0.0.1-other"
    place.mkdir()
    for age in range(4):
        (place / f"{age}.program").write_bytes(bytes(30))
        os.utime(place / f"{age}.program", (1e9 - age, 1e9 - age))
    programs._remove_old(tmp_path)
    assert len(list_programs(tmp_path)) == 4
    monkeypatch.setattr(programs, "_MOST_BYTES", 119)
    programs._remove_old(tmp_path)
    assert [file.name for file in list_programs(tmp_path)] == ["0.program"]


def test_room_is_made_before_the_first_program_is_kept(tmp_path, monkeypatch):
    opened = programs.Programs(tmp_path / "kept" / "jax-0.0.1-this")
    opened.put("old", bytes(90))
    monkeypatch.setattr(programs, "_MOST_BYTES", 99)
    opened.put("newer", bytes(90))
    assert opened.get("old") == bytes(90)
    another = programs.Programs(tmp_path / "kept" / "jax-0.0.1-this")
    assert another.get("newer") == bytes(90)
    another.put("newest", bytes(9))
    assert [file.name for file in list_programs(tmp_path / "kept")] == ["newest.program"]
