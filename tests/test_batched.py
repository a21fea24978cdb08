"""Several flows in one array: what they are, which fields can, and when they are made anew."""

import numpy as np
import pytest
from helpers import FAMILIES, N_FIELDS, N_STATES, relative_error
from sklearn.datasets import load_diabetes

from skcode import ControlledODERegressor
from skcode.fields import DiagonalFields, LinearFields, NeuralFields
from skcode.flow import TABLEAUS, BatchedFlows, flow, get_tableau
from skcode.model import _ensemble as ensemble

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
    mixed = ensemble.Ensemble((plain[0], ramped[0], plain[1]), pooled=ramped[1:])
    assert mixed._of_few is not None
    expected = mixed.block_scores(X)
    few = [mixed.scores(X[i : i + 10]) for i in range(0, len(X), 10)]
    np.testing.assert_allclose(np.concatenate(few, axis=1), expected, rtol=1e-9)


def test_large_members_predict_one_by_one(monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    model = ControlledODERegressor(n_fields=8, n_members=2, random_state=0).fit(X, y)
    monkeypatch.setattr(ensemble, "_SMALL_ENTRIES", 0)
    np.testing.assert_allclose(model.predict(X[:5]), model.predict(X)[:5], rtol=1e-9)
    assert model.ensemble_._of_few is None
