"""The training objective: value, gradient, blocks, jobs, minibatches, explosions."""

import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from helpers import gradient_by_differences, relative_error
from joblib import parallel_config

from skcode.fields import DiagonalFields, NeuralFields, PolynomialFields
from skcode.flow import flow, get_tableau
from skcode.inputs import InputMap
from skcode.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from skcode.model import Ensemble, FittedMember, Model
from skcode.objective import Objective
from skcode.readouts import READOUTS
from skcode.utils._blocks import OrderedMap

N, P, M_STATES, K, M = 60, 2, 4, 3, 2
LOSSES = {
    "squared": (SquaredError(), lambda rng: rng.standard_normal((N, K))),
    "softmax": (SoftmaxCrossEntropy(), lambda rng: rng.integers(0, K, N)),
    "sigmoid": (SigmoidCrossEntropy(), lambda rng: rng.integers(0, 2, (N, K)) * 1.0),
}
PARTS = ("fields", "tableau", "n_intervals", "readout")
STACK = DiagonalFields() | NeuralFields(rank=1)
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_readout = pytest.mark.parametrize("readout", READOUTS)


def problem(
    loss="squared", readout="linear", n_block=None, alpha=0.1, dtype="f8", family=STACK, **options
):
    """An objective, its parameters, and its data."""
    rng = np.random.default_rng(5)
    loss, targets = LOSSES[loss]
    X, weight = rng.standard_normal((N, P)).astype(dtype), rng.uniform(0.5, 2, N)
    fields = family.draw(M_STATES, 4, rng, n_inputs=P).astype(dtype)
    input_map = InputMap.fit(X, weight, M_STATES, "standard")
    model = Model(input_map, fields, get_tableau("heun"), M, READOUTS[readout](M_STATES, K))
    model = model.with_block(n_block or model.n_block)
    y = targets(rng)
    mapper = options.pop("mapper", OrderedMap(1))
    theta = 0.5 * rng.standard_normal(model.n_parameters)
    return Objective(model, loss, X, y, weight, alpha, mapper, **options), theta


@every_readout
@every_loss
def test_the_gradient_is_the_limit_of_differences(loss, readout):
    objective, theta = problem(loss, readout, n_block=25)
    value, grad = objective.value_and_grad(theta)
    assert value == pytest.approx(objective.value(theta), rel=1e-13)
    assert relative_error(grad, gradient_by_differences(objective.value, theta)) < 1e-7


@pytest.mark.parametrize("chunk", [1, 10**6])
def test_the_newton_readout_is_ridge_regression_for_the_squared_loss(chunk, monkeypatch):
    monkeypatch.setattr("skcode.objective._newton_readout._CHUNK_ENTRIES", chunk)
    objective, theta = problem(n_block=25)
    start = objective.newton_readout(theta)
    n_controls = objective.model.n_controls
    np.testing.assert_array_equal(start[:n_controls], theta[:n_controls])
    grad = objective.value_and_grad(start)[1][n_controls:]
    assert np.abs(grad).max() < 1e-12 * np.abs(objective.value_and_grad(theta)[1]).max()


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_newton_readout_lowers_a_cross_entropy(loss):
    objective, theta = problem(loss)
    theta[objective.model.n_controls :] = 0
    assert objective.value(objective.newton_readout(theta)) < objective.value(theta)


def test_the_newton_readout_needs_a_linear_readout():
    objective, theta = problem(readout="displacement")
    with pytest.raises(ValueError, match="start_readout=True needs readout='linear'"):
        objective.newton_readout(theta)


@every_readout
@every_loss
def test_value_and_gradient_are_those_of_the_traced_composition(loss, readout):
    objective, theta = problem(loss, readout, n_block=25, alpha=0.0)
    model = objective.model
    x0 = model.input_map(objective.X)

    def traced(theta):
        controls, parameters = model.split(theta)
        x1 = flow(model.fields, x0, controls, model.tableau)
        losses = objective.loss.value(model.readout.scores(parameters, x1, x0), objective.y)
        return anp.dot(objective.weight, losses)

    value, grad = objective.value_and_grad(theta)
    exact, exact_grad = value_and_grad(traced)(theta)
    assert value == pytest.approx(exact, rel=1e-13)
    assert relative_error(grad, exact_grad) < 1e-13


@pytest.mark.parametrize("n_rows", [1, 30, N])
def test_ensembles_score_like_their_members(monkeypatch, n_rows):
    models, thetas = zip(
        *((f[0].model, f[1]) for f in (problem("softmax", n_block=40) for _ in range(2))),
        strict=True,
    )
    # one map that is shared, and one of the model's own
    same = Model(models[0].input_map, *(getattr(models[0], name) for name in PARTS))
    members = [(models[0], thetas[0]), (same, 2 * thetas[0]), (models[1], -thetas[1])]
    X = problem()[0].X[:n_rows]
    every = Ensemble(tuple(FittedMember(*member) for member in members))
    with OrderedMap(1) as mapper:
        one_by_one = np.stack([model.scores(theta, X, mapper) for model, theta in members])
    # few rows flow through several members at once, and sums round otherwise
    np.testing.assert_allclose(every.scores(X), one_by_one, rtol=1e-12, atol=1e-14)
    monkeypatch.setattr("skcode.model._ensemble.FEW_ROWS", 0)
    np.testing.assert_array_equal(every.scores(X), one_by_one)


def test_many_outputs_make_the_blocks_of_the_jacobian_smaller():
    def normal_block(n_outputs):
        fields = NeuralFields(rank=1).draw(4, 256, 0)
        input_map = InputMap(np.zeros(2), np.ones(2), 4)
        readout = READOUTS["linear"](4, n_outputs)
        model = Model(input_map, fields, get_tableau("euler"), 2, readout)
        y = np.zeros((N, n_outputs))
        X, weight = np.zeros((N, 2)), np.ones(N)
        objective = Objective(model, SquaredError(), X, y, weight, 0.1, OrderedMap())
        return objective._normal_tasks[0].n_block, model.n_block

    assert normal_block(1) == (544, 544)
    assert normal_block(40) == (96, 544)


@every_readout
@every_loss
def test_single_precision_follows_double(loss, readout):
    value, grad = (f := problem(loss, readout))[0].value_and_grad(f[1])
    single, theta = problem(loss, readout, dtype="f4")
    value32, grad32 = single.value_and_grad(theta)
    assert value32 == pytest.approx(value, rel=1e-5)
    assert relative_error(grad32, grad) < 1e-4
    assert grad32.dtype == np.float64
    assert single.model.scores(theta, single.X, OrderedMap()).dtype == np.float32


@every_readout
@every_loss
def test_the_value_is_the_weighted_mean_loss_plus_penalty(loss, readout):
    objective, theta = problem(loss, readout)
    model = objective.model
    scores = model.scores(theta, objective.X, OrderedMap())
    mean = np.average(objective.loss.value(scores, objective.y), weights=objective.weight)
    controls, parameters = model.split(theta)
    squares = np.mean(np.sum(controls**2, axis=1))
    if readout == "linear":
        squares += np.sum(parameters[: K * M_STATES] ** 2)
    assert objective.value(theta) == pytest.approx(mean + 0.05 * squares, rel=1e-13)


def test_weights_repeat_rows():
    objective, theta = problem()
    counts = np.arange(N) % 3 + 1
    shared = objective.model, objective.loss
    X, y = objective.X, objective.y
    weighted = Objective(*shared, X, y, counts * 1.0, 0.1, OrderedMap())
    rows = np.repeat(np.arange(N), counts)
    repeated = Objective(*shared, X[rows], y[rows], np.ones(len(rows)), 0.1, OrderedMap())
    value, grad = weighted.value_and_grad(theta)
    again, grad_again = repeated.value_and_grad(theta)
    assert value == pytest.approx(again, rel=1e-13)
    np.testing.assert_allclose(grad, grad_again, atol=1e-13)


@pytest.mark.parametrize("n_block", [1, 7, 30, N])
def test_blocks_change_nothing_but_rounding(n_block):
    whole, theta = problem("softmax")
    assert whole.model.n_block > N
    blocked, _ = problem("softmax", n_block=n_block)
    value, grad = whole.value_and_grad(theta)
    value_blocked, grad_blocked = blocked.value_and_grad(theta)
    assert value_blocked == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(grad_blocked, grad, atol=1e-14)
    for method in ("scores", "states"):
        a, b = (getattr(f.model, method)(theta, f.X, OrderedMap()) for f in (whole, blocked))
        np.testing.assert_allclose(a, b, atol=1e-13)


def everything(objective, theta):
    """All that is mapped over blocks, as bytes."""
    value, grad = objective.value_and_grad(theta)
    batch_value, batch_grad = objective.batch_value_and_grad(theta, np.arange(0, N, 2))
    equations = objective.normal_equations(theta)
    scores = objective.model.scores(theta, objective.X, objective.mapper)
    numbers = [value, batch_value, objective.value(theta), equations.value]
    arrays = [grad, batch_grad, equations.gradient, equations.matrix.diagonal, scores]
    return np.array(numbers).tobytes(), *(array.tobytes() for array in arrays)


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_every_pool_gives_the_same_bits(backend, n_jobs):
    with OrderedMap(1) as mapper:
        serial = everything(*problem("softmax", n_block=8, mapper=mapper))
    with parallel_config(backend=backend), OrderedMap(n_jobs) as mapper:
        assert everything(*problem("softmax", n_block=8, mapper=mapper)) == serial
    with parallel_config(backend=backend, n_jobs=n_jobs), OrderedMap() as mapper:
        assert everything(*problem("softmax", n_block=8, mapper=mapper)) == serial


def test_minibatch_gradients_average_to_the_gradient():
    objective, theta = problem("sigmoid", n_block=16)
    batches = np.split(np.random.default_rng(0).permutation(N), [5, 31, 45])
    parts = [objective.batch_value_and_grad(theta, index) for index in batches]
    shares = [len(index) / N for index in batches]
    value, grad = objective.value_and_grad(theta)
    total = sum(share * part[0] for share, part in zip(shares, parts, strict=True))
    total_grad = sum(share * part[1] for share, part in zip(shares, parts, strict=True))
    assert total == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(total_grad, grad, atol=1e-14)
    assert max(abs(part[0] - value) for part in parts) > 1e-3


@pytest.mark.parametrize("size", [1e12, 1e30])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@every_readout
@every_loss
def test_an_exploding_flow_is_infinity_and_never_nan(loss, readout, dtype, size):
    objective, theta = problem(loss, readout, dtype=dtype, family=PolynomialFields(3))
    assert np.isfinite(objective.value(0.01 * theta))
    theta[: objective.model.n_controls] *= size
    index = np.arange(N // 2)
    for value, grad in (
        objective.value_and_grad(theta),
        objective.batch_value_and_grad(theta, index),
    ):
        assert value == np.inf
        assert not grad.any()
    assert objective.value(theta) == np.inf


def test_a_penalty_that_overflows_is_infinity_without_a_warning():
    objective, theta = problem()
    value, grad = objective.value_and_grad(1e200 * theta)
    assert value == objective.value(1e200 * theta) == np.inf
    assert not grad.any()


@every_readout
def test_frozen_controls_have_no_gradient(readout):
    trained, theta = problem("softmax", readout)
    frozen, _ = problem("softmax", readout, train_controls=False)
    cut = trained.model.n_controls
    value, grad = trained.value_and_grad(theta)
    frozen_value, frozen_grad = frozen.value_and_grad(theta)
    _, batch_grad = frozen.batch_value_and_grad(theta, np.arange(20))
    assert frozen_value == value
    np.testing.assert_array_equal(frozen_grad[cut:], grad[cut:])
    assert np.abs(grad[:cut]).min() > 0
    assert not frozen_grad[:cut].any()
    assert not batch_grad[:cut].any()
    assert batch_grad[cut:].any()


@every_readout
@every_loss
def test_normal_equations_hold_the_gradient_and_the_gauss_newton_matrix(loss, readout):
    objective, theta = problem(loss, readout, n_block=25)
    equations = objective.normal_equations(theta)
    value, grad = objective.value_and_grad(theta)
    penalty = 0.5 * np.sum(objective.ridge * theta**2)
    assert equations.value == pytest.approx(objective.value(theta) - penalty, rel=1e-12)
    assert objective.normal_value(theta) == pytest.approx(equations.value, rel=1e-14)
    np.testing.assert_allclose(equations.gradient, grad - objective.ridge * theta, atol=1e-12)
    direction = np.random.default_rng(0).standard_normal(len(theta))
    if loss == "softmax":
        # the coupling of readout weights of different classes is replaced by a bound
        direction[objective.model.n_controls :] = 0

    def scores(theta):
        return objective.model.scores(theta, objective.X, OrderedMap())

    # v^T H v = sum_n w_n s'^T W_n s' with the derivative s' of the scores along v
    slope = (scores(theta + 1e-5 * direction) - scores(theta - 1e-5 * direction)) / 2e-5
    a = objective.loss.hessian(scores(theta), objective.y)
    squares = np.sum(a * slope**2, axis=1)
    if objective.loss.coupled:
        squares -= np.sum(a * slope, axis=1) ** 2
    expected = objective.weight @ squares
    assert equations.matrix.quadratic(direction) == pytest.approx(expected, rel=1e-7)


@every_readout
@every_loss
def test_the_normal_equations_of_frozen_controls_are_those_of_the_readout(loss, readout):
    objective, theta = problem(loss, readout, n_block=25)
    frozen, _ = problem(loss, readout, n_block=25, train_controls=False)
    whole, part = objective.normal_equations(theta), frozen.normal_equations(theta)
    same = objective.normal_equations(theta, controls=False)
    np.testing.assert_array_equal(same.gradient, part.gradient)
    assert part.value == pytest.approx(whole.value, rel=1e-13)
    cut, P = objective.model.n_controls, objective.model.n_parameters
    np.testing.assert_allclose(part.gradient[cut:], whole.gradient[cut:], rtol=1e-10, atol=1e-14)
    step = np.random.default_rng(0).standard_normal(P)
    step[:cut] = 0
    assert part.matrix.quadratic(step) == pytest.approx(whole.matrix.quadratic(step))
    if readout == "linear":
        # nothing of the controls is computed
        assert not part.gradient[:cut].any()
        factor = part.matrix.factor(np.ones(P))
        assert part.matrix.core.shape == factor.schur.shape == (0, 0)
        solution = factor.solve(step)
        moved = part.matrix.quadratic(solution) + solution @ solution
        assert moved == pytest.approx(float(step @ solution))


def test_models_travel_without_their_buffers():
    objective, theta = problem()
    objective.value_and_grad(theta)
    assert objective.model._buffers._idle
    again = pickle.loads(pickle.dumps(objective.model))
    assert not again._buffers._idle
    mapper = OrderedMap()
    np.testing.assert_array_equal(
        again.scores(theta, objective.X, mapper), objective.model.scores(theta, objective.X, mapper)
    )
