"""Ctrl-C ends a command with one line that says what is done, and exit status 130."""

import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from luxscale import store
from luxscale.cli import main
from luxscale.cli.interrupt import STATUS, end_in_one_line
from luxscale.errors import Interrupted
from luxscale.labelling import run

#: A process in the background would ignore the signal.
START = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "luxscale"
runpy.run_module("luxscale", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def command(small_survey, small_model, tmp_path):
    """A labelling of 300 stars in chunks of 50."""
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=50)
    small_model.save(tmp_path / "m.zarr")
    paths = [str(tmp_path / name) for name in ("s.zarr", "m.zarr", "c.zarr")]
    return ["label", paths[0], "--model", paths[1], "--out", paths[2], "--region-stars", "50"]


def test_what_is_done_is_said_and_the_same_command_goes_on(command, monkeypatch):
    do, done = run.run_region, []

    def stop_at_third(plan, region):
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        done.append(region)
        return do(plan, region)

    options = [*command, "--workers", "0", "--quiet"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(run, "run_region", stop_at_third)
            patch.setattr("luxscale.cli.interrupt._silence", lambda: None)
            stopped = CliRunner().invoke(main, options)
        again = CliRunner().invoke(main, options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (stopped.exit_code, stopped.stdout) == (STATUS, "")
    assert stopped.stderr == "stopped: 100 of 300 stars done; the same command goes on\n"
    assert again.exit_code == 0 and "200 of them" in again.stdout


def import_a_library():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)  # a second one, while it closes up
        raise ImportError("numpy failed to import") from None


def test_an_interrupt_that_a_library_turns_into_its_own_error_is_one(monkeypatch, capsys):
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(click.exceptions.Exit) as ended, end_in_one_line():
            import_a_library()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == STATUS
    assert capsys.readouterr().err == "stopped; run the same command again\n"


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), end_in_one_line():
        raise ZeroDivisionError
    assert issubclass(Interrupted, KeyboardInterrupt)


ENDED = """
import atexit, os, signal, sys
atexit.register(os.kill, os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["luxscale", "guide", "run"]
from luxscale.__main__ import run
run()
"""


def test_an_interrupt_after_the_end_says_nothing():
    ended = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "region" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0, 8.0])
def test_workers_leave_one_line_at_any_moment(command, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", START, *command, "--workers", "2", "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of processes of its own, as a shell gives a command
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode:  # on a fast machine it has ended
        assert process.returncode == STATUS
        assert len(errors.splitlines()) == 1 and errors.startswith("stopped")
