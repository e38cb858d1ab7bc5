"""What takes long to prepare of a model is made once, and is the same to the last bit."""

import dataclasses

import numpy as np
import pytest

from luxscale.model import designs, kept, programs
from luxscale.model.components import Components
from luxscale.model.inference import Inference


@pytest.fixture
def asked(monkeypatch):
    """Calls for components, in a process that has kept none."""
    calls, find = [], designs.find_components

    def count(**given):
        calls.append(given)
        return find(**given)

    monkeypatch.setattr(designs, "find_components", count)
    monkeypatch.setattr(designs, "is_worthwhile", lambda *_: True)
    monkeypatch.setattr(kept, "_LAST", {})
    monkeypatch.setattr(programs._Opened, "programs", None)
    return calls


def prepare(model):
    """Return the components of a model's spectra as they are when the kernel has them."""
    return Inference.of(model).problem.designs[0].components


def assert_equal(found, expected):
    for name in Components._fields:
        a, b = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), name


def test_components_are_made_once_in_a_process(small_model, asked):
    first = prepare(small_model)
    assert_equal(prepare(small_model), first)
    assert len(asked) == 1


def test_components_are_kept_beside_programs(small_model, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(programs._Opened, "programs", programs.Programs(tmp_path / "kept" / "here"))
    first = prepare(small_model)
    kept._LAST.clear()  # as in another process
    assert_equal(prepare(small_model), first)
    assert len(asked) == 1
    (file,) = (tmp_path / "kept" / "here").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    kept._LAST.clear()
    assert_equal(prepare(small_model), first)
    assert len(asked) == 2


def test_another_version_makes_its_own(small_model, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(programs._Opened, "programs", programs.Programs(tmp_path / "kept" / "here"))
    prepare(small_model)
    monkeypatch.setattr(kept, "version", lambda package: f"another {package}")
    prepare(small_model)
    assert len(asked) == 2


def test_the_last_ones_asked_for_are_kept(monkeypatch):
    monkeypatch.setattr(kept, "_LAST", {})
    monkeypatch.setattr(programs._Opened, "programs", None)
    made = []

    def ask(number):
        def make():
            made.append(number)
            return Components(*[np.array(number)] * 3)

        found = kept.recall(Components, make, {"number": np.array(number)})
        assert found.sums == number

    for number in (0, 1, 2, 3, 0, 4, 0, 1):
        ask(number)
    assert made == [0, 1, 2, 3, 4, 1]


def test_of_another_model_they_are_others(small_model, asked):
    design = designs.make_design(small_model["flux"], search=False)
    heads = [designs.make_head(small_model["label_value"])]
    designs.add_components(design, heads)
    for name in ("weights", "offset", "ivar_unit"):
        changed = getattr(design, name).copy()
        changed[0] += 1
        designs.add_components(dataclasses.replace(design, **{name: changed}), heads)
    assert len(asked) == 4
    assert len(kept._LAST) == kept._MOST == 4
