"""What JAX lowers is kept for later processes, and nothing depends on its being there."""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.errors import InputError
from luxscale.model import designs, lowered, programs
from luxscale.model.inference import Inference


@lowered.register_result
class Halves(NamedTuple):
    root: Any
    others: tuple[Any, ...]


def start():
    """Return a function as a new process has it, and the list of its traces."""
    traces = []

    @lowered.keep_lowered
    def halve(matrices, times, twice):
        traces.append(twice)
        root = jnp.linalg.cholesky(matrices * times)  # of LAPACK
        return Halves(root, (root.sum(),) * (1 + twice))

    return jax.jit(halve, static_argnames=("twice",)), traces


MATRICES = np.array([[[4, 2], [2, 3]]], np.float32)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory where this process keeps programs."""
    place = tmp_path / "kept" / "here"
    monkeypatch.setattr(programs._Opened, "programs", programs.Programs(place))
    return place


def test_a_function_is_traced_once_for_all_processes(place, capsys):
    first, traces = start()
    made = first(MATRICES, 2.0, twice=True)
    assert traces == [True]
    again, traces = start()
    read = again(MATRICES, 2.0, twice=True)
    assert traces == []
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    damaged, traces = start()
    mended = damaged(MATRICES, 2.0, twice=True)
    assert traces == [True]
    assert "is damaged; it is made again" in capsys.readouterr().err
    for found in (made, read, mended):
        assert isinstance(found, Halves)
        np.testing.assert_allclose(found.root @ found.root.mT, 2 * MATRICES, rtol=1e-6)
        assert len(found.others) == 2
        assert np.array_equal(found.root, made.root)


@pytest.mark.parametrize(
    "given",
    [
        (np.tile(MATRICES, (2, 1, 1)), 2.0, True),
        (MATRICES, np.float32(2.0), True),
        (MATRICES, np.full((1, 1, 1), 2, np.float32), True),
        (MATRICES, 2.0, False),
    ],
    ids=["shape", "weak type", "dims", "static value"],
)
def test_of_other_arguments_another_is_kept(place, given):
    start()[0](MATRICES, 2.0, twice=True)
    matrices, times, twice = given
    for expected in ([twice], []):
        run, traces = start()
        found = run(matrices, times, twice=twice)
        assert traces == expected
        np.testing.assert_allclose(found.root[0] @ found.root[0].mT, 2 * MATRICES[0], rtol=1e-6)


@pytest.mark.parametrize("changed", ["package", "source"])
def test_another_version_keeps_its_own(place, changed, tmp_path, monkeypatch):
    start()[0](MATRICES, 2.0, twice=True)
    (tmp_path / "lowered.py").write_text("another")
    if changed == "package":
        monkeypatch.setattr(np, "__version__", "another")
    else:
        monkeypatch.setattr(lowered, "files", lambda package: tmp_path)
    run, traces = start()
    run(MATRICES, 2.0, twice=True)
    assert traces == []  # this process has loaded what was there before
    monkeypatch.setattr(lowered, "_CODE", lowered._identify_code())
    run, traces = start()
    run(MATRICES, 2.0, twice=True)
    assert traces == [True]


@pytest.mark.parametrize("setting", [("jax_disable_jit", True), ("jax_default_device", "cpu")])
def test_where_jax_is_told_how_to_run_nothing_is_kept(place, setting):
    run, traces = start()
    before = getattr(jax.config, setting[0])
    jax.config.update(*setting)
    try:
        found = run(MATRICES, np.float32(2), twice=False)
    finally:
        jax.config.update(setting[0], before)
    assert traces == [False]
    assert not place.exists()
    np.testing.assert_allclose(found.root @ found.root.mT, 2 * MATRICES, rtol=1e-6)


def test_without_a_directory_it_is_traced(monkeypatch):
    monkeypatch.setattr(programs._Opened, "programs", None)
    for _ in range(2):
        run, traces = start()
        run(MATRICES, 2.0, twice=True)
        assert traces == [True]


@pytest.mark.slow  # compiles each kernel twice
@pytest.mark.parametrize("kernel", ["fast", "curved"])
def test_kernels_give_the_same_bits(kernel, request, place, monkeypatch):
    monkeypatch.setattr(designs, "is_worthwhile", lambda *_: kernel == "fast")
    name = "curved" if kernel == "curved" else "small"
    survey = request.getfixturevalue("curved_survey" if kernel == "curved" else "held_out")
    inference = Inference.of(request.getfixturevalue(f"{name}_model"))
    data = {name: survey[name].values for name in inference.variables}
    kept = programs._Opened.programs

    def infer(opened):
        monkeypatch.setattr(programs._Opened, "programs", opened)
        jax.clear_caches()  # as in another process
        return inference.infer(data)

    plain, made = infer(None), infer(kept)
    files = sorted(place.glob("lowered-*"))
    assert files
    read = infer(kept)
    assert sorted(place.glob("lowered-*")) == files
    for name, expected in plain.items():
        assert np.array_equal(made[name], expected, equal_nan=True), name
        assert np.array_equal(read[name], expected, equal_nan=True), name


def test_a_missing_flatbuffers_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    run, _ = start()
    with pytest.raises(InputError, match="pip install flatbuffers"):
        run(MATRICES, 2.0, twice=True)
