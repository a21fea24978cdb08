"""Several flows and heads in one array: what they are, which can, and when they are made anew."""

import numpy as np
import pytest
from helpers import FAMILIES, N_FIELDS, N_STATES, relative_error
from sklearn.datasets import load_diabetes, load_iris

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.fields import DiagonalFields, LinearFields, NeuralFields
from skcode.flow import TABLEAUS, BatchedFlows, flow, get_tableau
from skcode.gaussian_process import (
    AffineLink,
    GaussianProcessHead,
    GaussianProcessReadout,
    Kernel,
    LogOddsLink,
    Mean,
)
from skcode.model import Ensemble, _few_rows

ABLE = [
    LinearFields(),
    DiagonalFields(),
    NeuralFields(rank=1),
    NeuralFields("gelu", rank=2),
    DiagonalFields() | NeuralFields(rank=1, sparse=0.5, centred=True),
    LinearFields() + NeuralFields(rank=3),
]


def problem(family, n_flows=3, n=5):
    rng = np.random.default_rng(3)
    fields = [family.draw(N_STATES, N_FIELDS, seed) for seed in range(n_flows)]
    controls = [rng.standard_normal((2, f.n_fields)) for f in fields]
    return fields, controls, 0.5 * rng.standard_normal((n, N_STATES))


@pytest.mark.parametrize("integrator", TABLEAUS)
@pytest.mark.parametrize("family", ABLE, ids=str)
def test_each_is_a_flow(family, integrator):
    fields, controls, x = problem(family)
    ends = BatchedFlows.of(fields, get_tableau(integrator), controls, float)(x)
    for end, f, u in zip(ends, fields, controls, strict=True):
        assert relative_error(end.T, flow(f, x, u, integrator)) < 1e-14


@pytest.mark.parametrize("name", FAMILIES)
def test_fields_that_cannot_say_so(name):
    fields, controls, x = problem(FAMILIES[name])
    flows = BatchedFlows.of(fields, get_tableau("euler"), controls, float)
    if flows is not None:
        assert relative_error(flows(x)[1].T, flow(fields[1], x, controls[1])) < 1e-14
    mixed = [fields[0], (LinearFields() | LinearFields()).draw(N_STATES, N_FIELDS, 0)]
    controls = [np.zeros((2, f.n_fields)) for f in mixed]
    assert BatchedFlows.of(mixed, get_tableau("euler"), controls, float) is None


@pytest.mark.parametrize("readout", ["linear", "displacement"])
def test_few_rows_are_predicted_as_many_are(readout):
    X, y = load_diabetes(return_X_y=True)
    model = ControlledODERegressor(n_fields=8, n_members=3, readout=readout, random_state=0)
    many = model.fit(X, y).predict(X)
    few = np.concatenate([model.predict(X[i : i + 10]) for i in range(0, len(X), 10)])
    np.testing.assert_allclose(few, many, rtol=1e-9)
    assert model.ensemble_._of_few is not None
    # training goes on with the same models
    model.partial_fit(X, -y)
    np.testing.assert_allclose(model.predict(X[:5]), model.predict(X)[:5], rtol=1e-9)


def test_few_rows_flow_together_on_ramps_and_on_inputs():
    X, y = load_diabetes(return_X_y=True)
    plain, ramped = (
        ControlledODERegressor(n_fields=8, n_members=2, ramps=ramps, random_state=0)
        .fit(X, y)
        .ensemble_.members
        for ramps in (False, True)
    )
    mixed = Ensemble((plain[0], ramped[0], plain[1]), pooled=ramped[1:])
    assert mixed._of_few is not None
    expected = mixed.block_scores(X)
    few = [mixed.scores(X[i : i + 10]) for i in range(0, len(X), 10)]
    np.testing.assert_allclose(np.concatenate(few, axis=1), expected, rtol=1e-9)


def test_large_members_predict_one_by_one(monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    model = ControlledODERegressor(n_fields=8, n_members=2, random_state=0).fit(X, y)
    monkeypatch.setattr(_few_rows, "_SMALL_ENTRIES", 0)
    np.testing.assert_allclose(model.predict(X[:5]), model.predict(X)[:5], rtol=1e-9)
    assert model.ensemble_._of_few is None


KERNELS = [
    Kernel(1.0, 2.0, 0.5, 3.0, 0.1),
    Kernel(0.0, 1.0, 0.5, 1.0, 0.0),
    Kernel(0.3, 1.0, 0.0, 1.0, 0.2, 0.7, 2.0),
    Kernel(0.0, 1.0, 0.0, 1.0, 0.5),
]
LINKS = {
    "affine": lambda e, k: AffineLink(np.full(k, 1.0 + e), np.full(k, -0.5 * e)),
    "classes": lambda e, k: LogOddsLink(
        np.full(k, 0.3), 0.5 + e, np.full(k, 0.1), np.full(k, 1.0 + e), np.full(k, 20.0),
        np.arange(k) + 0.0, binary=False,
    ),
    "two classes": lambda e, k: LogOddsLink(
        np.full(k, 0.3), 0.5, np.full(k, 0.1), np.full(k, 1.0), np.full(k, 20.0 + e),
        np.full(k, 0.2), binary=True,
    ),
}  # fmt: skip


def heads(link, kernels=KERNELS, n_outputs=2, n_points=30, dtype=float):
    rng = np.random.default_rng(5)
    made = []
    for e, kernel in enumerate(kernels):
        points, coefficients = rng.standard_normal((n_points, 4)), rng.standard_normal((30, 2))
        coefficients = coefficients[:n_points, :n_outputs]
        mean = Mean.of_points(kernel, points.astype(dtype), coefficients.astype(dtype))
        center = rng.standard_normal(4).astype(dtype)
        made.append(GaussianProcessHead(kernel, center, mean, LINKS[link](e, n_outputs)))
    return made


@pytest.mark.parametrize("n_kernels", [1, 2, 4])
@pytest.mark.parametrize("link", LINKS)
def test_processes_score_together_as_one_by_one(link, n_kernels):
    some = heads(link, KERNELS[-n_kernels:])
    x1 = np.random.default_rng(0).standard_normal((n_kernels, 7, 4))
    together = GaussianProcessHead.batched(some)(x1)
    expected = [head.scores(x, x) for head, x in zip(some, x1, strict=True)]
    np.testing.assert_allclose(together, expected, rtol=1e-11, atol=1e-11)


def test_processes_score_together_in_single_precision():
    some = heads("affine", dtype=np.float32)
    x1 = np.random.default_rng(0).standard_normal((len(some), 7, 4)).astype(np.float32)
    together = GaussianProcessHead.batched(some)(x1)
    assert together.dtype == np.float32
    expected = [head.scores(x, x) for head, x in zip(some, x1, strict=True)]
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-4)


def test_processes_that_differ_score_one_by_one():
    one, two = heads("affine")[:1], heads("classes")[:1]
    assert GaussianProcessHead.batched(one + two) is None
    assert GaussianProcessHead.batched(one + heads("affine", n_points=20)[:1]) is None
    assert GaussianProcessHead.batched(one + heads("affine", n_outputs=1)[:1]) is None
    assert GaussianProcessHead.batched(two + heads("two classes")[:1]) is None


@pytest.mark.parametrize("pooled", [0, 2])
def test_few_rows_of_processes_and_readouts_are_predicted_as_many_are(pooled):
    X, y = load_iris(return_X_y=True)
    model = ControlledODEClassifier(n_fields=8, n_members=3, random_state=0).fit(X, y)
    linear = ControlledODEClassifier(n_fields=8, n_members=2, readout="linear", random_state=0).fit(
        X, y
    )
    alone = model.ensemble_
    mixed = Ensemble(alone.members, alone.target, linear.ensemble_.members[:pooled])
    few = [mixed.scores(X[i : i + 10]) for i in range(0, len(X), 10)]
    assert mixed._of_few is not None
    np.testing.assert_allclose(np.concatenate(few, axis=1), mixed.block_scores(X), rtol=1e-7)


def test_processes_in_leaves_score_one_by_one():
    X, y = load_diabetes(return_X_y=True)
    readout = GaussianProcessReadout(n_exact=100, n_leaf=100, n_landmarks=20)
    model = ControlledODERegressor(n_fields=8, n_members=2, readout=readout, random_state=0)
    many = model.fit(X, y).predict(X)
    few = np.concatenate([model.predict(X[i : i + 10]) for i in range(0, len(X), 10)])
    np.testing.assert_allclose(few, many, rtol=1e-9)
    assert GaussianProcessHead.batched([m.head for m in model.ensemble_.members]) is None


@pytest.mark.parametrize("readout", ["auto", "linear"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_deviations_of_few_rows_are_those_of_many(readout, n_outputs):
    X, y = load_diabetes(return_X_y=True)
    y = np.stack([y, -(y**2)], axis=1)[:, :n_outputs]
    model = ControlledODERegressor(n_fields=8, n_members=3, readout=readout, random_state=0)
    mean, deviation = model.fit(X, y.squeeze()).predict(X, return_std=True)
    for few in (slice(1), slice(0, 12)):
        some = model.predict(X[few], return_std=True)
        np.testing.assert_allclose(some[0], mean[few], rtol=1e-7)
        np.testing.assert_allclose(some[1], deviation[few], rtol=1e-5)


def test_deviations_of_few_rows_where_maps_of_the_inputs_differ():
    X, y = load_diabetes(return_X_y=True)
    plain, ramped = (
        ControlledODERegressor(n_fields=8, n_members=2, ramps=ramps, random_state=0)
        .fit(X, y)
        .ensemble_
        for ramps in (False, True)
    )
    mixed = Ensemble((plain.members[0], *ramped.members, plain.members[1]), plain.target)
    many = mixed.moments(X)
    for few, expected in zip(mixed.moments(X[:9]), many, strict=True):
        np.testing.assert_allclose(few, expected[:9], rtol=1e-5)
