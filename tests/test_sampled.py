"""Normal equations of a softmax over many classes: what is exact, and what is right on average."""

import numpy as np
import pytest

from skcode.fields import DiagonalFields, NeuralFields
from skcode.flow import get_tableau
from skcode.inputs import InputMap
from skcode.losses import SoftmaxCrossEntropy
from skcode.model import Model
from skcode.objective import Objective
from skcode.objective import _normal_equations as normal
from skcode.objective import _sampled_classes as sampled
from skcode.readouts import READOUTS
from skcode.utils._blocks import OrderedMap

N, P, M_STATES, K = 40, 2, 4, 9


@pytest.fixture
def problem():
    """An objective with nine classes, and parameters away from the start."""
    rng = np.random.default_rng(7)
    X, weight = rng.standard_normal((N, P)), rng.uniform(0.5, 2, N)
    fields = (DiagonalFields() | NeuralFields(rank=1)).draw(M_STATES, 4, rng, n_inputs=P)
    input_map = InputMap.fit(X, weight, M_STATES, "standard")
    readout = READOUTS["linear"](M_STATES, K)
    model = Model(input_map, fields, get_tableau("euler"), 2, readout)
    y = rng.integers(0, K, N)
    objective = Objective(model, SoftmaxCrossEntropy(), X, y, weight, 0.1, OrderedMap())
    return objective, 0.5 * rng.standard_normal(model.n_parameters)


def equations(objective, theta, monkeypatch, most_exact):
    monkeypatch.setattr(normal, "MOST_EXACT", most_exact)
    return objective.normal_equations(theta)


def test_value_gradient_and_readout_blocks_are_exact(problem, monkeypatch):
    exact = equations(*problem, monkeypatch, K)
    found = equations(*problem, monkeypatch, K - 1)
    assert found.value == pytest.approx(exact.value, rel=1e-12)
    np.testing.assert_allclose(found.gradient, exact.gradient, atol=1e-12)
    np.testing.assert_allclose(found.matrix.blocks, exact.matrix.blocks, atol=1e-12)
    assert not np.allclose(found.matrix.core, exact.matrix.core)


def test_the_matrix_is_exact_where_the_likeliest_classes_are_all(problem, monkeypatch):
    objective, theta = problem
    # intercepts that leave next to nothing to seven of the nine classes
    theta[-K:] = [30.0, 30.0, *[-30.0] * (K - 2)]
    exact = equations(objective, theta, monkeypatch, K)
    found = equations(objective, theta, monkeypatch, K - 1)
    np.testing.assert_allclose(found.matrix.core, exact.matrix.core, atol=1e-9)
    np.testing.assert_allclose(found.matrix.coupling, exact.matrix.coupling, atol=1e-9)


def test_the_matrix_is_right_on_average(problem, monkeypatch):
    exact = equations(*problem, monkeypatch, K).matrix
    generator, cores, couplings = np.random.default_rng, [], []
    for seed in range(100):
        monkeypatch.setattr(np.random, "default_rng", lambda _, seed=seed: generator(seed))
        found = equations(*problem, monkeypatch, K - 1).matrix
        cores.append(found.core)
        couplings.append(found.coupling)
    for draws, expected in [(cores, exact.core), (couplings, exact.coupling)]:
        error = np.std(draws, axis=0) / np.sqrt(len(draws))
        assert np.all(np.abs(np.mean(draws, axis=0) - expected) < 5 * error + 1e-12)


@pytest.mark.parametrize("most_exact", [K - 1, K])
def test_blocks_of_few_samples_add_up(problem, monkeypatch, most_exact):
    """Fewer samples than controls: one product for all scores."""
    objective, theta = problem
    products = []
    monkeypatch.setattr(sampled, "_LIKELIEST", K - 1)  # nothing is left to chance
    monkeypatch.setattr(sampled, "_DRAWS", 1)
    for module in (normal, sampled):
        at_once = sampled.gram

        def counted(rows, at_once=at_once):
            products.append((len(rows), *rows[0].shape))
            return at_once(rows)

        monkeypatch.setattr(module, "gram", counted)
    whole = equations(objective, theta, monkeypatch, most_exact).matrix
    assert not products
    model = objective.model.with_block(5)
    monkeypatch.setitem(
        vars(objective), "_normal_tasks", (model, objective._cut(objective.X, model))
    )
    blocks = equations(objective, theta, monkeypatch, most_exact).matrix
    assert products == [(K, model.n_controls, 5)] * (N // 5)
    np.testing.assert_allclose(blocks.core, whole.core, atol=1e-12)
    np.testing.assert_allclose(blocks.coupling, whole.coupling, atol=1e-12)


def test_the_weights_of_the_chosen_classes_sum_to_one():
    probability = np.random.default_rng(0).dirichlet(np.full(30, 0.3), 50)
    classes, weight = sampled.choose_classes(probability)
    np.testing.assert_allclose(weight.sum(axis=0), 1, rtol=1e-12)
    top = np.argsort(-probability, axis=1)[:, : sampled._LIKELIEST]
    np.testing.assert_array_equal(classes[: sampled._LIKELIEST].T, top)
    assert not np.any(classes[sampled._LIKELIEST :][:, :, None] == top[None])
