"""Ctrl-C ends a command with one line that says what is done, and exit status 130."""

import concurrent.futures
import contextlib
import errno
import importlib
import os
import signal
import subprocess
import sys
import time

import click
import pytest
import xarray as xr
from click.testing import CliRunner
from fitsfiles import write_apstar

from luxscale import store
from luxscale.cli import main
from luxscale.cli.interrupt import STATUS, end_in_one_line
from luxscale.crossval import results as crossval_results
from luxscale.errors import CannotWrite, Interrupted, RunError
from luxscale.ingest import run as ingest_run
from luxscale.labelling import run as labelling

#: A process in the background would ignore the signal; that Python itself starts is no affair of
#: the command, which says when it has.
START = """
import signal, sys
from luxscale import __main__ as program
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "luxscale"
run_command = program._run_command

def start():
    print("started", flush=True)
    run_command()

program._run_command = start
program.run()
"""


@pytest.fixture
def command(small_survey, small_model, tmp_path):
    """A labelling of 300 stars in chunks of 50."""
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=50)
    small_model.save(tmp_path / "m.zarr")
    paths = [str(tmp_path / name) for name in ("s.zarr", "m.zarr", "c.zarr")]
    return ["label", paths[0], "--model", paths[1], "--out", paths[2], "--region-stars", "50"]


@pytest.fixture
def crossval(small_survey, tmp_path):
    """A cross-validation of four tasks."""
    store.write_dataset(small_survey.isel(star=slice(0, 120)), tmp_path / "s.zarr", chunk=60)
    sizes = ["--latent-dim", "2", "--latent-dim", "3", "--folds", "2", "--iterations", "2"]
    return ["crossval", str(tmp_path / "s.zarr"), *sizes, "--out", str(tmp_path / "cv.zarr")]


@pytest.fixture
def ingest(tmp_path):
    """An ingest of 12 files."""
    (tmp_path / "files").mkdir()
    for i in range(12):
        write_apstar(tmp_path / "files" / f"apStar-{i:02d}.fits", 1, name=f"2M{i:04d}", seed=i)
    files = str(tmp_path / "files")
    return ["ingest", "apstar", files, "--out", str(tmp_path / "i.zarr"), "--chunk", "4"]


def interrupt_third(monkeypatch, module, name, options):
    """Run a command that is interrupted as it begins its third item, and then once more."""
    do, done = getattr(module, name), []

    def stop_at_third(plan, item, *begun):
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        done.append(item)
        return do(plan, item, *begun)

    with foreground():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stop_at_third)
            patch.setattr("luxscale.cli.interrupt._silence", lambda: None)
            stopped = CliRunner().invoke(main, [*options, "--workers", "0", "--quiet"])
        again = CliRunner().invoke(main, [*options, "--workers", "0", "--quiet"])
    assert (stopped.exit_code, stopped.stdout) == (STATUS, "")
    assert again.exit_code == 0
    return stopped.stderr, again.stdout


def test_what_is_done_is_said_and_the_same_command_goes_on(command, monkeypatch):
    stopped, again = interrupt_third(monkeypatch, labelling, "run_region", command)
    assert stopped == "stopped: 100 of 300 stars done; the same command goes on\n"
    assert "200 of them" in again


@pytest.mark.slow
def test_a_cross_validation_says_what_is_done_and_goes_on(crossval, monkeypatch):
    stopped, again = interrupt_third(monkeypatch, crossval_results, "run_tasks", crossval)
    assert stopped == "stopped: 2 of 4 tasks done; the same command goes on\n"
    assert "2 tasks done in this run" in again


def test_an_ingest_says_what_is_done_and_goes_on(ingest, monkeypatch):
    stopped, again = interrupt_third(monkeypatch, ingest_run, "run_batch", ingest)
    assert stopped == "stopped: 2 of 12 files done; the same command goes on\n"
    assert "12 stars, 12 of them new" in again


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


def interrupt_and(then):
    """Be interrupted, and do what a program does when it is."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    except KeyboardInterrupt:
        then()


def forget_interrupt_and(then):
    """Be interrupted, have it swallowed, as a library may, and do something later."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    then()


def fill_the_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "catalog.zarr")


def fail_to_write():
    raise CannotWrite("catalog.zarr: the disk is full; make room, and run the same command again")


def make_a_mistake():
    raise KeyError("teff")


def lose_the_scheduler():
    from distributed.client import CancelledError

    try:
        raise CancelledError("region-1")
    except CancelledError as error:
        raise RunError("the Dask scheduler is gone") from error


def lose_a_connection():
    from distributed.comm import CommClosedError

    raise CommClosedError("in <TCP>: Stream is closed")


def stop_an_executor():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    pool.submit(print)


def load_a_library():
    exec(compile("1 / 0", "library.py", "exec"), {"__name__": "library"})


@contextlib.contextmanager
def foreground():
    """Have Ctrl-C do here what it does in a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("then", [fill_the_disk, fail_to_write])
def test_an_error_to_mend_after_an_interrupt_is_told(then, monkeypatch):
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    monkeypatch.setattr("luxscale.store.open_survey", lambda *_, **__: interrupt_and(then))
    with foreground():
        failed = CliRunner().invoke(main, ["train", "s.zarr", "--out", "m.zarr"])
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "catalog.zarr" in failed.stderr and len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("Error: ")


def test_an_error_long_after_an_interrupt_that_was_forgotten_is_told(monkeypatch):
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    with foreground(), pytest.raises(KeyError, match="teff"), end_in_one_line():
        forget_interrupt_and(make_a_mistake)


@pytest.mark.parametrize(
    "then", [lose_the_scheduler, lose_a_connection, stop_an_executor, load_a_library]
)
def test_what_shuts_down_or_is_cut_off_says_nothing(then, monkeypatch, capsys):
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    with foreground(), pytest.raises(click.exceptions.Exit) as ended, end_in_one_line():
        forget_interrupt_and(then)
    assert ended.value.exit_code == STATUS
    assert capsys.readouterr().err == "stopped; run the same command again\n"


class InterruptedAsItGoes:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def drop_an_interrupt():
    InterruptedAsItGoes()
    time.sleep(10)
    raise AssertionError("it goes on")


def test_an_interrupt_that_is_dropped_is_raised_again(monkeypatch):
    """As in a callback of the garbage collector, from which no exception gets out."""
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with foreground(), pytest.raises(click.exceptions.Exit) as ended, end_in_one_line():
        drop_an_interrupt()
    assert ended.value.exit_code == STATUS


BEGINNING = """
import signal, sys
import click
from luxscale import __main__ as program
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["luxscale", "guide", "run"]

def interrupt(*_, **__):
    signal.raise_signal(signal.SIGINT)

class InterruptedAsItGoes:
    __del__ = interrupt

{}
program.run()
"""


@pytest.mark.parametrize(
    "moment",
    [
        "program._run_command = InterruptedAsItGoes",  # Python drops what is raised, as in imports
        "click.Group.make_context = interrupt",
    ],
)
def test_an_interrupt_before_the_command_begins_ends_it(moment):
    ended = subprocess.run(
        [sys.executable, "-c", BEGINNING.format(moment)], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (STATUS, "")
    assert ended.stderr == "stopped; run the same command again\n"


ENDED = """
import atexit, os, signal, sys
from luxscale import __main__ as program
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["luxscale", "guide", "run"]
run_command = program._run_command

def run_interrupted():
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
    run_command()

program._run_command = run_interrupted
program.run()
"""


def test_an_interrupt_after_the_end_says_nothing():
    ended = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "region" in ended.stdout


ENDING = """
import os, sys
from luxscale import __main__ as program

class HalfLoaded:
    def __del__(self):
        os._exit(11)

half_loaded = HalfLoaded()

def end():
    print("the end")
    raise {}

program._run_command = end
program.run()
"""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("KeyboardInterrupt", STATUS, "stopped; run the same command again\n"),
        ("SystemExit", 0, ""),
        ("SystemExit(2)", 2, ""),
    ],
)
def test_a_process_does_not_take_itself_apart(error, status, said):
    """Libraries that were stopped while they loaded crash as they are unloaded."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(error)], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "the end\n", said)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", f"SystemExit({STATUS})"])
def test_an_interrupted_process_waits_for_no_thread(error):
    """An executor's thread that was cut off as it was started waits for what never comes."""
    endless = "import threading; threading.Thread(target=threading.Event().wait).start()"
    script = ENDING.format(error).replace('print("the end")', endless)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert ended.returncode == STATUS


@pytest.mark.parametrize(
    ("error", "out", "status", "said"),
    [
        ("SystemExit", "/dev/full", 120, "No space left"),
        ("RuntimeError", os.devnull, 1, "Traceback"),
    ],
)
def test_an_end_that_nobody_foresaw_is_left_to_python(error, out, status, said):
    script = ENDING.format(error).replace("os._exit(11)", "pass")
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    with open(out, "w") as stdout:
        ended = subprocess.run(
            [sys.executable, "-c", script],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=buffered,
        )
    assert ended.returncode == status
    assert said in ended.stderr


#: A training that does not end by itself.
ENDLESS = ["--method", "curved", "--latent-dim", "3", "--quadratic", "3", "--components", "8"]
ENDLESS += ["--gaussians", "2", "--iterations", "100000"]


def start(options):
    return subprocess.Popen(
        [sys.executable, "-c", START, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of processes of its own, as a shell gives a command
    )


def read_to_the_end(process, seconds):
    """Return what a process says on standard error; one that does not end is killed."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"still running: {process.communicate()}") from None


def interrupt_after(seconds, options):
    """Run a command, interrupt it, and check that it ends in one line; return whether it did."""
    process = start(options)
    assert process.stdout.readline() == "started\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    errors = read_to_the_end(process, 60)
    if not process.returncode:  # on a fast machine it has ended
        assert errors == ""
        return False
    assert process.returncode == STATUS
    assert len(errors.splitlines()) == 1 and errors.startswith("stopped")
    return True


def finish(options):
    process = start(options)
    errors = read_to_the_end(process, 120)
    assert (process.returncode, errors) == (0, "")


def without_clocks(path):
    opened = store.open_dataset(path).load().drop_attrs()
    return opened.drop_vars(["seconds", "training_seconds"], errors="ignore")


def load_then_wait():
    importlib.import_module("loading_slowly")
    time.sleep(60)


@pytest.fixture
def leaves(monkeypatch):
    """How the process left at once: exit statuses."""
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("luxscale.cli.interrupt._silence", lambda: None)
    return statuses


def load_interrupted(folder, monkeypatch, *lines):
    """Be interrupted while a library loads, and then do what the lines say."""
    begin = "import os, signal, time", "os.kill(os.getpid(), signal.SIGINT)", "time.sleep(0.3)"
    (folder / "loading_slowly.py").write_text("\n".join([*begin, *lines, "done = True"]))
    monkeypatch.syspath_prepend(folder)
    with foreground(), pytest.raises(click.exceptions.Exit) as ended, end_in_one_line():
        load_then_wait()
    assert ended.value.exit_code == STATUS
    assert sys.modules.pop("loading_slowly").done


@pytest.mark.parametrize("closing", [10.0, 0.1])
def test_a_library_that_loads_is_not_cut_off(closing, leaves, monkeypatch, tmp_path):
    """What is written in C may crash, at once or as it is unloaded; on a busy machine it is slow.

    What is raised again is no second interrupt, at which the command would leave without a word.
    """
    monkeypatch.setattr("luxscale.cli.interrupt._CLOSING", closing)
    load_interrupted(tmp_path, monkeypatch)
    assert leaves == []


def test_a_second_interrupt_ends_a_library_that_loads_too_long(leaves, monkeypatch, tmp_path):
    monkeypatch.setattr("luxscale.cli.interrupt._CLOSING", 0.1)
    load_interrupted(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGINT)")
    assert leaves == [STATUS]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 3.0, 5.0, 8.0])
def test_workers_leave_one_line_at_any_moment(command, seconds):
    interrupt_after(seconds, [*command, "--workers", "2", "--quiet"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("kind", ["ingest", "crossval"])
def test_interrupts_at_many_moments_change_no_result(kind, workers, request, tmp_path):
    options = [*request.getfixturevalue(kind), "--workers", workers, "--quiet"]
    for seconds in (0.1, 2.0, 4.0, 6.0):
        if not interrupt_after(seconds, options):
            break
    finish(options)
    out = options.index("--out") + 1
    undisturbed = str(tmp_path / "undisturbed.zarr")
    whole = [*options[:out], undisturbed, *options[out + 1 :]]
    if kind == "ingest":  # which computes nothing that the number of threads could change
        assert CliRunner().invoke(main, [*whole, "--workers", "0"]).exit_code == 0
    else:
        finish(whole)
    xr.testing.assert_identical(without_clocks(options[out]), without_clocks(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 2.0, 4.0, 6.0])
def test_training_leaves_one_line_at_any_moment(command, seconds):
    options = ["train", command[1], "--out", command[1].replace("s.zarr", "trained.zarr")]
    interrupt_after(seconds, [*options, *ENDLESS, "--quiet"])


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_from_its_checkpoint(command, tmp_path):
    part, out = str(tmp_path / "part.zarr"), str(tmp_path / "trained.zarr")
    options = ["train", command[1], "--out", out]
    process = start([*options, *ENDLESS, "--checkpoint", part])
    for line in process.stderr:
        if "training: iteration" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    errors = read_to_the_end(process, 60)
    assert process.returncode == STATUS
    said = errors.splitlines()[-1]
    assert f"its model is in {part}, and training goes on from it with --initial {part}" in said
    done = int(said.split("iteration ")[1].split()[0])
    finish([*options, "--initial", part, "--iterations", "3", "--folds", "1", "--quiet"])
    assert store.open_dataset(out).sizes["iteration"] == done + 3
