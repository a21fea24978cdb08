"""Solvers on small objectives with known answers: optima, exact steps, stopping, errors."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skcode import ControlledODERegressor
from skcode.fields import NeuralFields
from skcode.flow import get_tableau
from skcode.inputs import InputMap
from skcode.losses import SquaredError
from skcode.model import Model
from skcode.objective import Objective
from skcode.readouts import LinearReadout
from skcode.solvers import (
    LBFGS,
    SGD,
    SOLVERS,
    Adam,
    BatchObjective,
    GaussNewton,
    NormalObjective,
    ReadoutObjective,
    SmoothObjective,
    StochasticSolver,
    back_off,
    halve_controls,
)
from skcode.solvers._objectives import members_of
from skcode.solvers._stochastic import SCHEDULES
from skcode.utils._blocks import OrderedMap

N, P = 30, 4


class LeastSquares:
    """F(theta) = mean_n (a_n theta - b_n)^2 / 2 with an exact solution; infinite past a wall."""

    n_samples = N

    def __init__(self, wall=np.inf):
        rng = np.random.default_rng(0)
        self.A = rng.standard_normal((N, P))
        self.optimum = rng.standard_normal(P)
        self.b = self.A @ self.optimum
        self.wall = wall
        self.calls = 0

    def value(self, theta):
        return self.value_and_grad(theta)[0]

    def value_and_grad(self, theta):
        return self.batch_value_and_grad(theta, np.arange(N))

    def batch_value_and_grad(self, theta, index):
        self.calls += 1
        assert self.calls < 10**5, "the solver never ends"
        if np.max(np.abs(theta)) > self.wall:
            return np.inf, np.zeros(P)
        residual = self.A[index] @ theta - self.b[index]
        return 0.5 * np.mean(residual**2), self.A[index].T @ residual / len(index)


class Slope:
    """A plane with its gradient, and a loss that says what it is told."""

    n_samples = 4

    def __init__(self, loss=lambda epoch: 0.0):
        self.loss = loss
        self.calls = 0

    def value(self, theta):
        return self.loss(self.calls)

    def batch_value_and_grad(self, theta, index):
        self.calls += 1
        return self.loss(self.calls), np.array([1.0, -2.0])


class Recorder:
    """A monitor that keeps iterates and stops after a number of them."""

    def __init__(self, stop_after=np.inf):
        self.thetas, self.losses = [], []
        self.stop_after = stop_after

    def __call__(self, theta, loss, parts=None):
        self.thetas.append(np.array(theta))
        self.losses.append(loss)
        return len(self.thetas) >= self.stop_after


def minimize(solver, objective, theta=None, monitor=None, max_iter=100, tol=1e-10, patience=10):
    theta = np.zeros(P) if theta is None else theta
    return solver.minimize(
        objective,
        theta,
        max_iter=max_iter,
        tol=tol,
        n_iter_no_change=patience,
        rng=np.random.default_rng(0),
        monitor=monitor or Recorder(),
    )


def steps_of(solver, objective=None, max_iter=6, patience=10**6):
    """Steps of passes of one batch over a plane."""
    recorder = Recorder()
    objective = objective or Slope()
    minimize(solver, objective, np.zeros(2), recorder, max_iter, 0.0, patience)
    return np.diff([np.zeros(2), *recorder.thetas], axis=0)


# -- optima --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    [
        LBFGS(),
        LBFGS(memory=2),
        *(SGD(schedule, 0.05, power_t=0.1, batch_size=8) for schedule in SCHEDULES),
        SGD(learning_rate_init=0.2, momentum=0.0, batch_size="auto"),
        SGD(learning_rate_init=0.05, nesterov=False, shuffle=False, batch_size=7),
        *(Adam(schedule, 0.1, power_t=0.1, batch_size=8) for schedule in SCHEDULES),
    ],
    ids=repr,
)
def test_the_optimum_of_least_squares_is_reached(solver):
    objective, recorder = LeastSquares(), Recorder()
    parameters = solver.get_params()
    result = minimize(solver, objective, monitor=recorder, max_iter=400, patience=30)
    np.testing.assert_allclose(result.theta, objective.optimum, atol=2e-3)
    assert result.n_iter == len(recorder.thetas)
    np.testing.assert_array_equal(result.theta, recorder.thetas[-1])
    assert recorder.losses[-1] < 1e-4 * recorder.losses[0]
    assert solver.get_params() == parameters


def test_lbfgs_stops_at_the_gradient_tolerance():
    loose, tight = (minimize(LBFGS(), LeastSquares(), tol=tol) for tol in (1e-1, 1e-9))
    assert loose.converged
    assert tight.converged
    assert loose.n_iter < tight.n_iter
    _, grad = LeastSquares().value_and_grad(loose.theta)
    assert 1e-9 < np.max(np.abs(grad)) <= 1e-1


@pytest.mark.parametrize("solver", [LBFGS(), SGD(), Adam()], ids=repr)
def test_max_iter_is_not_convergence(solver):
    result = minimize(solver, LeastSquares(), max_iter=2)
    assert result.n_iter == 2
    assert not result.converged


def test_max_fun_is_not_convergence():
    objective = LeastSquares()
    result = minimize(LBFGS(max_fun=3), objective)
    assert objective.calls <= 6
    assert not result.converged


@pytest.mark.parametrize("solver", [LBFGS(), SGD(), Adam()], ids=repr)
def test_the_monitor_stops_and_its_iterate_is_the_result(solver):
    recorder = Recorder(stop_after=3)
    result = minimize(solver, LeastSquares(), monitor=recorder)
    assert result.converged
    assert result.message == "stopped by the monitor"
    assert result.n_iter == len(recorder.thetas) == 3
    np.testing.assert_array_equal(result.theta, recorder.thetas[-1])


# -- steps ---------------------------------------------------------------------------------------


def test_constant_rates_stay():
    np.testing.assert_allclose(steps_of(SGD("constant", 0.5, momentum=0)), [[-0.5, 1]] * 6)


def test_cosine_rates_fall_to_zero_over_all_passes():
    rates = 0.5 * 0.5 * (1 + np.cos(np.pi * np.arange(6) / 6))
    np.testing.assert_allclose(-steps_of(SGD("cosine", 0.5, momentum=0))[:, 0], rates)


def test_inverse_scaling_counts_steps_and_not_passes():
    solver = SGD("invscaling", 0.5, power_t=0.7, momentum=0, batch_size=2)
    rates = 0.5 / np.arange(1, 13) ** 0.7
    np.testing.assert_allclose(-steps_of(solver)[:, 0], rates.reshape(6, 2).sum(axis=1))


def test_adaptive_rates_fall_by_five_when_the_loss_stalls():
    solver = SGD("adaptive", 0.5, momentum=0)
    rates = [0.5] * 3 + [0.1] * 2 + [0.02]
    np.testing.assert_allclose(-steps_of(solver, patience=2)[:, 0], rates)
    falling = Slope(lambda epoch: -float(epoch))
    np.testing.assert_allclose(-steps_of(solver, falling, patience=2)[:, 0], 0.5)


def test_momentum_keeps_a_share_of_the_last_step():
    gradient, velocity, expected = np.array([1.0, -2.0]), 0.0, {True: [], False: []}
    for _ in range(6):
        velocity = 0.8 * velocity - 0.1 * gradient
        expected[False].append(velocity)
        expected[True].append(0.8 * velocity - 0.1 * gradient)
    for nesterov, steps in expected.items():
        solver = SGD("constant", 0.1, momentum=0.8, nesterov=nesterov)
        np.testing.assert_allclose(steps_of(solver), steps)


def test_adam_takes_the_steps_of_the_paper():
    objective, recorder = LeastSquares(), Recorder()
    minimize(Adam(learning_rate_init=0.1, shuffle=False), objective, None, recorder, 20, 0.0, 99)
    theta, first, second = np.zeros(P), np.zeros(P), np.zeros(P)
    for t in range(1, 21):
        _, g = objective.value_and_grad(theta)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        m, v = first / (1 - 0.9**t), second / (1 - 0.999**t)
        theta = theta - 0.1 * m / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(recorder.thetas[t - 1], theta, rtol=1e-5)


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_pass_reads_every_row_once(shuffle):
    passes = []

    class Watched(LeastSquares):
        def batch_value_and_grad(self, theta, index):
            passes.append(index)
            return super().batch_value_and_grad(theta, index)

    minimize(SGD(batch_size=8, shuffle=shuffle), Watched(), max_iter=2)
    # the last call looks where the last step leads
    for batches in (passes[:4], passes[4:8]):
        assert [len(index) for index in batches] == [8, 8, 8, 6]
        rows = np.concatenate(batches)
        np.testing.assert_array_equal(np.sort(rows), np.arange(N))
        assert np.array_equal(rows, np.arange(N)) != shuffle
    assert np.array_equal(passes[0], passes[4]) != shuffle


# -- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [SGD("constant"), SGD("cosine"), Adam()], ids=repr)
def test_a_stalled_loss_ends_the_training(solver):
    # the loss falls by more than tol for three passes, then by less
    objective = Slope(lambda epoch: 10.0 - min(epoch, 3) - 0.01 * epoch)
    result = minimize(solver, objective, np.zeros(2), None, 50, 0.1, 4)
    assert result.n_iter == 3 + 4
    assert result.converged
    assert result.message == "the loss stalled"


def test_adaptive_training_ends_when_the_rate_is_gone():
    result = minimize(SGD("adaptive", 0.5), Slope(), np.zeros(2), None, 500, 0.1, 2)
    # 0.5 / 5^9 is the first rate below 1e-6; the first pass is never a stall
    assert result.n_iter == 1 + 2 * 10
    assert result.converged


# -- explosions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    [SGD(learning_rate_init=50.0, momentum=0.5, batch_size=10), Adam(learning_rate_init=30.0)],
    ids=repr,
)
def test_exploding_steps_are_taken_back(solver):
    objective, recorder = LeastSquares(wall=3.0), Recorder()
    with pytest.warns(RuntimeWarning, match="steps are taken back.*scaling='robust'") as told:
        result = minimize(solver, objective, monitor=recorder, max_iter=300, tol=0.0, patience=300)
    assert len(told) == 1
    assert np.isfinite(recorder.losses).all()
    np.testing.assert_allclose(result.theta, objective.optimum, atol=0.3)
    assert recorder.losses[-1] < 0.05 * recorder.losses[0]


def test_a_wall_that_some_batches_do_not_see_is_no_trap():
    class Cliff(LeastSquares):
        """The first half of the rows is finite everywhere, the second near zero alone."""

        def batch_value_and_grad(self, theta, index):
            self.wall = np.inf if np.max(index) < N // 2 else 1.0
            assert self.calls < 10**4, "the solver never ends"
            return super().batch_value_and_grad(theta, index)

    solver = SGD(learning_rate_init=5.0, momentum=0.0, batch_size=5, shuffle=False)
    recorder = Recorder()
    with pytest.warns(RuntimeWarning, match="steps are taken back"):
        minimize(solver, Cliff(), monitor=recorder, max_iter=3, tol=0.0, patience=99)
    assert np.isfinite(recorder.losses).all()


@pytest.mark.parametrize("steepness", [1e-3, 0.5, 2.0, 1e3, 1e200])
def test_steep_gradients_are_shortened(steepness):
    class Steep(Slope):
        def batch_value_and_grad(self, theta, index):
            return 0.0, steepness * np.array([1.0, -7.0])

    solver = SGD(learning_rate_init=0.1, momentum=0.0)
    step = minimize(solver, Steep(), np.zeros(2), None, 1, 0.0, 9).theta
    np.testing.assert_allclose(step[1] / step[0], -7.0)
    # root mean square of rate times gradient, and at most 1
    length = 0.1 * 5.0 * steepness
    np.testing.assert_allclose(np.sqrt(np.mean(step**2)), min(length, 1.0))


@pytest.mark.parametrize("solver", [SGD(learning_rate_init=1.0), Adam(learning_rate_init=1.0)])
def test_the_last_step_does_not_leave_where_the_loss_is_finite(solver):
    class Edge(Slope):
        def value(self, theta):
            return 0.0 if np.max(np.abs(theta)) < 0.3 else np.inf

    with pytest.warns(RuntimeWarning, match="overflows in training"):
        result = minimize(solver, Edge(), np.zeros(2), None, 1, 0.0, 9)
    # half way back, until it is inside
    assert 0.1 < np.max(np.abs(result.theta)) < 0.3


@pytest.mark.parametrize(("p", "most"), [(1, 2**24 // 8), (1024, 2**14)])
def test_subsets_of_wide_rows_stay_small(p, most):
    class Rows:
        n_samples, n_features, alpha = 2**24, p, None

    rows = [rows for rows, _ in GaussNewton()._phases(Rows(), 15)]
    assert rows[-1] == Rows.n_samples
    # an eighth of all, or what 64 MB hold in single precision
    assert rows[-2] == most
    assert rows == sorted(rows)


def test_lbfgs_steps_back_from_a_wall():
    objective, recorder = LeastSquares(wall=3.0), Recorder()
    result = minimize(LBFGS(), objective, theta=np.full(P, 2.9), monitor=recorder)
    np.testing.assert_allclose(result.theta, objective.optimum, atol=1e-4)
    assert np.isfinite(recorder.losses).all()


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_a_mismatch_names_what_the_objective_lacks(name):
    solver = SOLVERS[name]()
    with pytest.raises(TypeError, match=rf"{type(solver).__name__} needs .*{solver.needs[0]}"):
        minimize(solver, object())


_SCHEDULED = {
    "learning_rate": ["linear", 0.1],
    "learning_rate_init": [0.0, np.nan, np.inf, "a"],
    "power_t": [-0.5, None],
    "batch_size": [0, "all", 10.5],
    "shuffle": ["no"],
    "start_readout": [None],
}
WRONG = {
    GaussNewton: {
        "damping": [0.0, -1.0, "a"],
        "patience": [0, 2.5],
        "rate": [0.0, 1.5],
        "first_rows": [0, "all"],
        "growth": [0.5, np.nan],
    },
    LBFGS: {"memory": [0, "a"], "max_fun": [0, 1.5]},
    SGD: {**_SCHEDULED, "momentum": [1.0, -0.1, "a"], "nesterov": ["yes"]},
    Adam: {**_SCHEDULED, "beta_1": [1.0, None], "beta_2": [-0.1], "epsilon": [0.0]},
}


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        (solver, name)
        for kind, names in WRONG.items()
        for name, values in names.items()
        for solver in (kind(**{name: value}) for value in values)
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_parameters_are_named(solver, name):
    message = f"The '{name}' parameter of {type(solver).__name__} must be"
    with pytest.raises(InvalidParameterError, match=message):
        minimize(solver, LeastSquares())


def test_every_parameter_of_a_solver_is_checked():
    for kind in SOLVERS.values():
        assert set(kind._parameter_constraints) == set(kind().get_params()) == set(WRONG[kind])


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_are_specifications(name):
    solver = SOLVERS[name]()
    twin = clone(solver)
    assert twin.get_params() == solver.get_params()
    assert set(vars(solver)) == set(solver.get_params())
    assert solver.default_max_iter >= 1


def test_a_posterior_survives_single_precision():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    y = X[:, 0] * X[:, 1] + 0.3 * rng.standard_normal(300)
    model = ControlledODERegressor(n_members=1, n_fields=16, readout="linear", random_state=0)
    # a thousand times the weight: the matrix is singular to single precision
    std = model.fit(X, y, sample_weight=np.full(300, 1e3)).predict(X, return_std=True)[1]
    assert np.isfinite(std).all()


@pytest.mark.parametrize(("n", "p"), [(65, 65), (100, 95)])
@pytest.mark.parametrize("seed", range(3))
def test_the_noise_does_not_run_away_where_columns_are_as_many_as_rows(n, p, seed):
    """From a weak prior the first step would interpolate, and R2 be -1 to -6 on other rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 1000, p))
    y = X[:, :5].sum(axis=1) + 2 * rng.standard_normal(len(X))
    model = ControlledODERegressor(readout="linear", n_members=2, random_state=seed)
    model.fit(X[:n], y[:n])
    assert model.score(X[n:], y[n:]) > 0
    # the noise that the evidence finds is one: 4 of a variance of 9
    for member in model.ensemble_.members:
        assert 0.1 < 1 / member.posterior.noise_precision < 1


@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
def test_a_fixed_penalty_has_its_noise_from_the_residuals(alpha):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = 50 * X[:, 0] + rng.standard_normal(300)
    model = ControlledODERegressor(
        n_members=1, n_fields=8, readout="linear", alpha=alpha, random_state=0
    )
    mean, std = model.fit(X, y).predict(X, return_std=True)
    residual = np.std(y - mean)
    assert 0.8 * residual < np.mean(std) < 2 * residual


def test_a_documented_step_rule_fits():
    class SignDescent(StochasticSolver):
        learning_rate, learning_rate_init = "constant", 1e-2
        power_t, batch_size, shuffle = 0.5, "auto", True

        def start(self, theta):
            return {}

        def step(self, grad, rate, memory):
            return -rate * np.sign(grad)

    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    model = ControlledODERegressor(
        n_members=1, n_fields=8, solver=SignDescent(), max_iter=30, tol=0.05, random_state=0
    )
    assert model.fit(X, X[:, 0]).score(X, X[:, 0]) > 0.5


# -- what is read of an objective ------------------------------------------------------------------


class Narrow:
    """An objective that shows a protocol's members and nothing else."""

    def __init__(self, objective, names):
        self._objective, self._names = objective, names

    def __getattr__(self, name):
        if name not in self._names:
            raise AssertionError(f"{name} is read, and not in the protocol")
        value = getattr(self._objective, name)
        if name != "subset":
            return value
        return lambda index: Narrow(value(index), self._names)


@pytest.mark.parametrize(
    ("solver", "protocol"),
    [
        (LBFGS(), SmoothObjective),
        (SGD(), BatchObjective),
        (Adam(), BatchObjective),
        (Adam(start_readout=True), ReadoutObjective),
        (GaussNewton(first_rows=20, growth=2.0), NormalObjective),
    ],
    ids=repr,
)
@pytest.mark.parametrize("alpha", [None, 1e-2])
def test_a_protocol_says_all_that_is_read(solver, protocol, alpha):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = X[:, :1] * X[:, 1:]
    fields = NeuralFields().draw(4, 3, rng, n_inputs=2)
    input_map = InputMap.fit(X, np.ones(60), 4, "standard")
    model = Model(input_map, fields, get_tableau("euler"), 2, LinearReadout(4, 1))
    theta = 0.5 * rng.standard_normal(model.n_parameters)
    results = []
    names = members_of(protocol)
    assert set(solver.needs) <= set(names)
    with OrderedMap(1) as mapper:
        objective = Objective(model, SquaredError(), X, y, np.ones(60), alpha, mapper)
        for shown in (objective, Narrow(objective, names)):
            options = {"max_iter": 4, "tol": 1e-9, "n_iter_no_change": 9, "monitor": Recorder()}
            rng = np.random.default_rng(0)
            results.append(solver.minimize(shown, theta, rng=rng, **options).theta)
    np.testing.assert_array_equal(*results)
    assert not np.array_equal(results[0], theta)


def test_what_is_missing_for_the_start_of_a_readout_is_named():
    with pytest.raises(TypeError, match=r"start_readout=True\) needs \['newton_readout'\]"):
        minimize(SGD(start_readout=True), LeastSquares())


# -- backing off -----------------------------------------------------------------------------------


def test_backing_off_goes_on_until_the_loss_is_finite_or_gives_up():
    seen = []

    def value(theta):
        seen.append(float(theta[0]))
        return float(theta[0]) if theta[0] < 1 else np.inf

    def halve(theta, attempt):
        assert attempt == len(seen) - 1
        return theta / 2

    theta, found, n_attempts = back_off(np.array([6.0]), value, float, halve, "explodes")
    assert (theta[0], found, n_attempts) == (0.75, 0.75, 3)
    assert seen == [6.0, 3.0, 1.5, 0.75]
    seen.clear()
    with pytest.raises(ValueError, match="explodes"):
        back_off(np.array([1e30]), value, float, halve, "explodes")
    assert len(seen) == 60


def test_halving_touches_the_controls_alone():
    start = np.array([8.0, 4.0, 100.0])
    with pytest.warns(RuntimeWarning, match="the controls were divided by 4"):
        theta, value = halve_controls(
            start, 2, lambda theta: np.inf if theta[0] > 2 else float(theta.sum()), float, ""
        )
    assert theta.tolist() == [2.0, 1.0, 100.0]
    assert value == 103.0
    assert start.tolist() == [8.0, 4.0, 100.0]
