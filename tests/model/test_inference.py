"""The prepared inference: what it reads, what comes back, and that arrays alone are enough."""

import dataclasses

import jax
import numpy as np
import pytest

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.inference import Inference, describe_results
from luxscale.schema.outputs import find_outputs


def read(survey, inference):
    return {name: survey[name].values for name in inference.variables}


@pytest.mark.parametrize("covariance", [False, True])
@pytest.mark.parametrize("given", ["flux", ["flux", "label_value"]])
def test_results_are_as_described_and_those_of_infer(small_model, held_out, given, covariance):
    inference = Inference.of(small_model, given, covariance=covariance)
    got = inference.infer(read(held_out, inference))
    assert [r.name for r in inference.results] == list(got)
    catalog = lux.infer(held_out, small_model, given, covariance=covariance)
    sizes = {"star": held_out.sizes["star"], **inference.sizes}
    for result in inference.results:
        array = got[result.name]
        assert array.dtype == result.dtype
        assert array.shape == tuple(sizes[d] for d in result.dims)
        assert array[0].nbytes == result.bytes_per_star
        assert catalog[result.name].dims == result.dims
        np.testing.assert_array_equal(catalog[result.name].values, array)
    assert inference.results == describe_results(small_model, given, covariance)


def test_it_reads_values_and_errors_of_each_given_output(small_model):
    inference = Inference.of(small_model, ["flux", "label_value"])
    assert inference.variables == ("flux", "flux_ivar", "label_value", "label_err")


def test_a_survey_with_errors_in_place_of_inverse_variances(small_model, held_out):
    ivar = held_out["flux_ivar"].astype(float)
    other = held_out.drop_vars("flux_ivar").assign(flux_err=(1 / np.sqrt(ivar)).where(ivar > 0))
    spec = next(o for o in find_outputs(other) if o.name == "flux")
    ours = Inference.of(small_model)
    theirs = ours.reading([spec])
    assert theirs.variables == ("flux", "flux_err")
    got, expected = theirs.infer(read(other, theirs)), ours.infer(read(held_out, ours))
    np.testing.assert_allclose(got["latent"], expected["latent"], atol=1e-4)


def test_data_that_are_scaled_already(small_model, held_out):
    inference = Inference.of(small_model)
    flux, ivar = held_out["flux"].values.astype(float), held_out["flux_ivar"].values.astype(float)
    center, scale = np.nanmean(flux, 0), small_model["flux"].scale
    got = inference.for_scaled_data([center]).infer_from_ivars(
        [(flux - center) / scale], [ivar * scale**2]
    )
    expected = inference.infer_from_ivars([flux], [ivar])
    np.testing.assert_allclose(got["latent"], expected["latent"], atol=1e-4)
    np.testing.assert_allclose(got["label_err"], expected["label_err"], rtol=1e-5)


def test_latents_with_their_errors_and_covariance(small_model, held_out):
    inference = Inference.of_latents(small_model, covariance=True)
    got = inference.infer(read(held_out, inference))
    np.testing.assert_allclose(got["latent_value"], got["latent"], rtol=1e-6)
    variance = np.diagonal(got["latent_cov"], axis1=1, axis2=2)
    np.testing.assert_allclose(got["latent_err"] ** 2, variance, rtol=1e-6)
    labels = small_model["label_value"]
    w = labels.map.weights
    formal = np.einsum("mp,npq,mq->nm", w, got["latent_cov"], w)
    expected = lux.infer(held_out, small_model)["label_err"].values
    np.testing.assert_allclose(np.sqrt(formal + labels.floor**2), expected, rtol=1e-3)


def test_its_arrays_travel_apart_from_the_rest(small_model, held_out):
    inference = Inference.of(small_model)
    leaves, structure = jax.tree.flatten(inference)
    again = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves])
    assert (again.given, again.results) == (inference.given, inference.results)
    data = read(held_out, inference)
    np.testing.assert_array_equal(again.infer(data)["latent"], inference.infer(data)["latent"])


def test_a_lazy_graph_holds_the_arrays_once(small_model, held_out):
    """In as many tasks as there are chunks, they would fill the scheduler's memory."""
    tables = [np.asarray(leaf) for leaf in jax.tree.leaves(Inference.of(small_model))]
    largest = max(t.nbytes for t in tables)

    def held(chunk):
        lazy = lux.infer(held_out.chunk(star=chunk)[["flux", "flux_ivar"]], small_model)
        graph = dict(lazy["label_value"].__dask_graph__())
        arrays = [a for task in graph.values() for a in task_arrays(task)]
        return sum(a.nbytes == largest for a in {id(a): a for a in arrays}.values())

    assert held(300) == held(30) == 1


def task_arrays(task):
    """Yield the arrays in a task of a graph: its data, or the arguments of its call."""
    if isinstance(task, np.ndarray):
        yield task
    elif hasattr(task, "value"):
        yield from task_arrays(task.value)
    elif hasattr(task, "args"):
        for value in (*task.args, *task.kwargs.values()):
            yield from task_arrays(value)
    elif isinstance(task, list | tuple):
        for value in task:
            yield from task_arrays(value)


def test_what_cannot_be_inferred_is_refused(small_model):
    with pytest.raises(InputError, match="the model has no output 'mag'"):
        Inference.of(small_model, "mag")
    windows = (("mg_fe", ((15120.0, 15132.0),)),)
    label = dataclasses.replace(small_model["label_value"], windows=windows)
    model = dataclasses.replace(small_model, outputs=(label, small_model["flux"]))
    Inference.of(model)
    with pytest.raises(InputError, match="infers mg_fe from windows: ask without covariance"):
        Inference.of(model, covariance=True)
