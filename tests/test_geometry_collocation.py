"""Collocation: trajectories by their slopes at Gauss nodes are those of the flow."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import expm

from skcode.fields import NeuralFields, UniversalFields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._collocation import (
    Trajectories,
    collocated,
    gauss_nodes,
    n_nodes,
)
from skcode.geometry.interpolation._shooting import propagate


@pytest.mark.parametrize("K", [1, 2, 5, 20])
def test_nodes_integrate_polynomials(K):
    nodes = gauss_nodes(K)
    for power in range(2 * K):
        assert_allclose(nodes.b @ nodes.c**power, 1 / (power + 1), rtol=1e-13)
    for power in range(K):
        assert_allclose(nodes.a @ nodes.c**power, nodes.c ** (power + 1) / (power + 1), atol=1e-14)
        times = np.array([0.0, 0.3, 1.0])
        assert_allclose(nodes.values(times) @ nodes.c**power, times**power, atol=1e-11)


def test_more_steps_have_more_nodes():
    nodes = n_nodes(np.arange(1, 30))
    assert (np.diff(nodes) > 0).all()


def near(x, size):
    """States beside these, but for the first ones."""
    noise = np.random.default_rng(1).standard_normal(x.shape)
    noise[0] = 0
    return x + size * noise


@pytest.mark.parametrize("m", [2, 4])
def test_linear_fields_have_the_matrix_exponential(m):
    rng = np.random.default_rng(0)
    # sigma(z) = z: the fields are A_i x + b_i
    fields = NeuralFields("identity", rank=None).draw(m, 3, rng=0)
    w, X = rng.standard_normal((4, 3)), rng.random((5, m))
    flows = []
    for u in w:
        at_zero = fields.combine(np.zeros((1, m)), u)[0]
        matrix = fields.combine(np.eye(m), u).T - at_zero[:, None]
        flows.append(expm(np.block([[matrix, at_zero[:, None]], [np.zeros((1, m + 1))]])))
    x = [X]
    for flow in flows:
        x.append(x[-1] @ flow[:m, :m].T + flow[:m, m])
    trajectories = Trajectories(batched_fields(fields), w, near(np.array(x), 1e-2), np.full(4, 9))
    assert trajectories.settle()
    assert_allclose(trajectories.x, x, atol=1e-11)
    assert_allclose(trajectories.A, np.tile([[f[:m, :m]] for f in flows], (5, 1, 1)), rtol=1e-4)


@pytest.mark.parametrize("fields", [NeuralFields(rank=None, scale=2.0), UniversalFields()])
def test_trajectories_are_those_of_the_flow(fields):
    fields = fields.draw(2, 5, rng=0) if isinstance(fields, NeuralFields) else fields.draw(2, rng=0)
    many, rng = batched_fields(fields), np.random.default_rng(0)
    w, X, n_steps = 0.3 * rng.standard_normal((6, 5)), rng.random((7, 2)), np.arange(3, 9)
    x = propagate(many, w[None], X, 40)[0]
    trajectories = Trajectories(many, w, near(x, 1e-3), n_steps)
    assert trajectories.settle(1e-9)
    coarse = abs(trajectories.x - x).max()
    assert coarse < 1e-6
    finer = trajectories.refined(3 * n_steps)
    assert_allclose(finer.x, x, atol=max(coarse / 100, 1e-14))
    # one step at more nodes: none has to be settled anew
    assert_allclose(finer.refined(3 * n_steps).x, finer.x, atol=1e-13)
    # what it is differentiated by is the derivative of the flow
    bent = propagate(many, w[None], X + 1e-6 * np.eye(2)[0], 40)[0, -1]
    whole = trajectories.A[0]
    for A in trajectories.A[1:]:
        whole = A @ whole
    assert_allclose(whole[..., 0], (bent - x[-1]) / 1e-6, rtol=1e-3, atol=1e-4)


def test_what_explodes_is_not_settled():
    fields = NeuralFields("polynomial", rank=None).draw(2, 5, rng=0)
    w, x = np.full((3, 5), 50.0), np.random.default_rng(0).random((4, 6, 2))
    with np.errstate(all="ignore"):
        assert not Trajectories(batched_fields(fields), w, x, np.full(3, 2)).settle()
        assert collocated(batched_fields(fields), w, x, np.full(3, 2)) is None


def test_cheap_fields_and_intervals_of_many_steps_are_not_collocated():
    x, w = np.zeros((4, 6, 2)), np.zeros((3, 5))
    dear = batched_fields(NeuralFields(rank=None).draw(2, 5, rng=0))
    cheap = batched_fields(UniversalFields().draw(2, rng=0))
    assert collocated(dear, w, x, np.ones(3)) is not None
    assert collocated(dear, w, x, np.full(3, 1e6)) is None
    assert collocated(cheap, w, x, np.ones(3)) is None
