"""The readout by a Gaussian process: against dense formulas, refits and differences."""

from dataclasses import astuple, replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from helpers import gradient_by_differences, relative_error
from scipy.special import expit, softmax
from sklearn.datasets import make_friedman1

from skcode import ControlledODERegressor
from skcode.fields import NeuralFields
from skcode.flow import get_tableau
from skcode.gaussian_process import (
    ROUGH_NOISE,
    Evidence,
    GaussianProcessReadout,
    Hyperparameters,
    Kernel,
    Leaves,
    LogOddsLink,
    NoiseModel,
    Observations,
    _noise,
    calibrate_sigmoids,
    calibrate_softmax,
    choose_factors,
    fit_exact,
    fit_leaves,
    scaled,
)
from skcode.gaussian_process._evidence import _PRIOR, signed_sums
from skcode.inputs import InputMap
from skcode.model import Model
from skcode.objective import EvidenceObjective
from skcode.objective._evidence import sweep_states
from skcode.readouts import LinearReadout
from skcode.utils._cholesky import factor_in_place, solve_factor

KERNEL = Kernel(0.7, 2.0, 0.4, 1.5, 0.3, 0.5, 1.2)
HYPERPARAMETERS = Hyperparameters(KERNEL, 0.1)


def dense_kernel(
    x, z, amplitude_l1, length_l1, amplitude_l2, length_l2, linear, amplitude_gauss, length_gauss
):
    """The kernel by its formula, for autograd as well."""
    difference = x[:, None] - z[None]
    one = np.abs(difference).sum(axis=2)
    two = np.sqrt((difference**2).sum(axis=2))
    first = amplitude_l1 * anp.exp(-one / length_l1)
    second = amplitude_l2 * anp.exp(-two / length_l2)
    third = amplitude_gauss * anp.exp(-(two**2) / (2 * length_gauss**2))
    return first + second + third + linear * (x @ z.T) + 1


def parts_of(kernel):
    return astuple(kernel)


@pytest.fixture
def data():
    """Centred states, two outputs, and weights with a mean of one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    x -= x.mean(axis=0)
    y = np.stack([np.sin(2 * x[:, 0]), x[:, 1] * x[:, 2]], axis=1)
    y += 0.1 * rng.standard_normal(y.shape)
    y = (y - y.mean(axis=0)) / np.sqrt(np.mean((y - y.mean(axis=0)) ** 2))
    weight = rng.uniform(0.5, 2, len(x))
    return x, y, weight / weight.mean()


def solve(x, y, weight, at, hyperparameters=HYPERPARAMETERS):
    """Predictions of the process by the dense formula."""
    kernel = dense_kernel(x, x, *parts_of(hyperparameters.kernel))
    C = kernel + np.diag(hyperparameters.noise / weight)
    return dense_kernel(at, x, *parts_of(hyperparameters.kernel)) @ np.linalg.solve(C, y)


# -- kernel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_kernel_is_its_formula(data, dtype):
    x = data[0].astype(dtype)
    z = x[:7]
    K = KERNEL(x, z)
    assert K.dtype == dtype
    expected = dense_kernel(data[0], data[0][:7], *parts_of(KERNEL))
    # distances of equal points by a product are the root of what rounding leaves
    np.testing.assert_allclose(K, expected, rtol=20 * np.sqrt(np.finfo(dtype).eps))
    np.testing.assert_allclose(KERNEL.diagonal(x), np.diag(expected := KERNEL(x, x)), rtol=1e-3)
    assert np.linalg.eigvalsh(expected.astype(float)).min() > 0


@pytest.mark.parametrize(
    "amplitudes", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1e-5, 0), (1, 0, 1e-5), (1e-5, 1, 1)]
)
def test_a_part_that_is_as_good_as_nothing_is_left_out(data, amplitudes):
    x = data[0]
    kernel = Kernel(amplitudes[0], 2.0, amplitudes[1], 1.5, 0.3, amplitudes[2], 1.2)
    np.testing.assert_allclose(kernel(x, x), dense_kernel(x, x, *parts_of(kernel)), atol=2e-5)


def test_blocks_of_rows_change_nothing(data, monkeypatch):
    x = data[0]
    whole = KERNEL(x, x)
    monkeypatch.setattr("skcode.gaussian_process._kernel._BLOCK_ENTRIES", 100)
    np.testing.assert_allclose(KERNEL(x, x), whole, rtol=1e-12)


# -- evidence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
def test_the_evidence_is_the_normal_log_density_and_its_gradient_is_right(data, smooth):
    x, y, weight = data
    evidence = Evidence(x, y, weight, smooth)
    logs = evidence.start + np.random.default_rng(1).normal(scale=0.3, size=8)
    if not smooth:
        logs[5:7] = evidence.start[5:7]
        assert evidence.hyperparameters(logs).kernel.amplitude_gauss == 0

    def minus_log_density(logs):
        *parts, noise = [anp.exp(log) for log in logs]
        parts[5] = parts[5] * smooth
        C = dense_kernel(x, x, *parts) + noise * np.diag(1 / weight)
        sign, log_determinant = anp.linalg.slogdet(C)
        return 0.5 * anp.sum(y * anp.linalg.solve(C, y)) + 0.5 * y.shape[1] * log_determinant

    value, gradient = evidence(logs)
    moved = logs - evidence.start
    prior = 0.5 * float(_PRIOR @ moved**2)
    assert value == pytest.approx(float(minus_log_density(logs)) + prior, rel=1e-8)
    differences = gradient_by_differences(lambda at: evidence(at)[0], logs)
    assert relative_error(gradient, differences) < 1e-5
    slope = grad(minus_log_density)(logs) + _PRIOR * moved
    assert relative_error(gradient, slope) < 1e-6


def test_the_ascent_ends_higher_and_finds_the_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (150, 2))
    for deviation in (0.05, 0.7):
        y = np.sin(4 * x[:, :1]) + deviation * rng.standard_normal((150, 1))
        y -= y.mean()
        scale = np.sqrt(np.mean(y**2))
        evidence = Evidence(x - x.mean(axis=0), y / scale, np.ones(150))
        logs = evidence.maximise()
        assert evidence(logs)[0] < evidence(evidence.start)[0]
        noise = scale * np.sqrt(evidence.hyperparameters(logs).noise)
        assert 0.2 * deviation < noise < 1.5 * deviation


@pytest.mark.parametrize("rough", [False, True])
def test_the_ascent_tells_smooth_functions_from_rough_ones(rough):
    """Their explanations lie apart: from one start alone each is missed by many nats."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (200, 3))
    x -= x.mean(axis=0)
    if rough:
        C = dense_kernel(x, x, 1.0, 3.0, 0.0, 1.0, 0.0, 0.0, 1.0)
        y = np.linalg.cholesky(C) @ rng.standard_normal((200, 1))
    else:
        y = np.sin(3 * x[:, :1]) * np.cos(2 * x[:, 1:2])
    y = (y - y.mean()) / y.std()
    evidence = Evidence(x, y + 1e-2 * rng.standard_normal(y.shape), np.ones(200))
    found = evidence.maximise()
    for smooth in (-4, 4):
        start = evidence.start.copy()
        start[[0, 2, 5]] += -smooth, -smooth, smooth
        assert evidence(found)[0] < evidence(evidence._descended(start, 60)[0])[0] + 2
    kernel = evidence.hyperparameters(found).kernel
    assert (kernel.amplitudes[2] > sum(kernel.amplitudes[:2])) != rough


@pytest.mark.parametrize("case", ["one row", "two rows", "constant", "equal states", "tiny weight"])
def test_the_evidence_of_little_is_finite(case):
    rng = np.random.default_rng(0)
    n = {"one row": 1, "two rows": 2}.get(case, 20)
    x, y, weight = rng.standard_normal((n, 4)), rng.standard_normal((n, 1)), np.ones(n)
    if case == "constant":
        y[:] = 0
    if case == "equal states":
        x[:] = x[:1]
    if case == "tiny weight":
        weight[0] = 1e-12
    x -= x.mean(axis=0)
    evidence = Evidence(x, y - y.mean(), weight)
    kernel, noise = evidence.hyperparameters(evidence.maximise())
    assert np.isfinite([*parts_of(kernel), noise]).all()
    fitted = fit_exact(x, y, weight, np.ones(n), Hyperparameters(kernel, noise), np.arange(n))
    assert np.isfinite(fitted.mean(kernel, x + 1)).all()


def test_the_evidence_of_rows_with_counts_is_that_of_copies(data):
    x, y, weight = data
    counts = 1 + np.arange(len(x)) % 4
    merged = Evidence(x, y, counts * weight, copies=float(counts.sum() - len(x)))
    each = [np.repeat(part, counts, axis=0) for part in (x, y, weight)]
    copied = Evidence(*each)
    rng = np.random.default_rng(0)
    logs = [merged.start + rng.normal(scale=0.5, size=8) for _ in range(3)]
    values, by_logs, _ = zip(*map(merged.with_states, logs), strict=True)
    expected, expected_by_logs, _ = zip(*map(copied.with_states, logs), strict=True)
    # but for what no logarithm changes
    np.testing.assert_allclose(np.diff(values), np.diff(expected), rtol=1e-7)
    np.testing.assert_allclose(by_logs, expected_by_logs, rtol=1e-5, atol=1e-7)


def test_the_ascent_survives_where_the_matrix_is_not_positive(data):
    x, y, weight = data
    evidence = Evidence(np.vstack([x, x]), np.vstack([y, y]), np.tile(weight, 2))
    healthy, calls = evidence.__class__.__call__, []

    class Failing(Evidence):
        def __call__(self, logs):
            calls.append(logs)
            if len(calls) == 2:
                # equal rows and negative noise: what rounding may lead to
                self.noise_shape, kept = -np.abs(self.noise_shape), self.noise_shape
                value, gradient = healthy(self, logs)
                self.noise_shape = kept
                assert value > 1e3
                return value, gradient
            return healthy(self, logs)

    failing = Failing(np.vstack([x, x]), np.vstack([y, y]), np.tile(weight, 2))
    found = failing.maximise()
    assert len(calls) > 3
    assert failing(found)[0] < evidence(evidence.start)[0]


# -- regression ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_regression_is_the_dense_formula(data, dtype):
    x, y, weight = data
    fitted = fit_exact(
        x.astype(dtype), y, weight, np.ones(len(x)), HYPERPARAMETERS, np.arange(len(x))
    )
    predicted = fitted.mean(KERNEL, x[:5].astype(dtype) + dtype(0.1))
    assert predicted.dtype == dtype
    tolerance = 1e-7 if dtype is np.float64 else 1e-3
    expected = solve(x, y, weight, x[:5] + 0.1)
    np.testing.assert_allclose(predicted, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("leaves", [False, True])
def test_many_rows_with_noise_are_factored_in_single_precision(data, monkeypatch, leaves):
    x, y, weight = data
    every, ones = np.arange(len(x)), np.ones(len(x))

    def fitted(noise):
        of_rows = x, y, weight, ones, Hyperparameters(KERNEL, noise)
        if leaves:
            return fit_leaves(*of_rows, every[:10], every, 15, every)
        return fit_exact(*of_rows, every)

    few = fitted(0.1), fitted(1e-3)
    monkeypatch.setattr("skcode.gaussian_process._regression._MANY_ROWS", 10)
    noisy, clean = fitted(0.1), fitted(1e-3)
    assert np.array_equal(clean.left_out, few[1].left_out)
    assert not np.array_equal(noisy.left_out, few[0].left_out)
    np.testing.assert_allclose(noisy.left_out, few[0].left_out, atol=1e-3)
    # predictions are in the type of the states, so that rows of a batch do not depend on others
    predicted = noisy.mean(KERNEL, x)
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted, few[0].mean(KERNEL, x), atol=1e-3)
    np.testing.assert_allclose(noisy.mean(KERNEL, x[:3]), predicted[:3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("asked", [np.arange(40), np.array([3, 7, 20, 39])], ids=["all", "some"])
def test_left_out_predictions_are_those_of_refits(data, asked):
    x, y, weight = data
    fitted = fit_exact(x, y, weight, np.ones(len(x)), HYPERPARAMETERS, asked)
    assert len(fitted.left_out) == len(asked)
    for i, left_out in list(zip(asked, fitted.left_out, strict=True))[::3]:
        rest = np.arange(len(x)) != i
        refit = solve(x[rest], y[rest], weight[rest], x[i : i + 1])
        np.testing.assert_allclose(left_out, refit[0], rtol=1e-6)


def test_the_lower_triangle_of_the_kernel_in_blocks(data, monkeypatch):
    x = data[0]
    monkeypatch.setattr("skcode.gaussian_process._kernel._BLOCK_ENTRIES", 100)
    np.testing.assert_allclose(np.tril(KERNEL.lower(x)), np.tril(KERNEL(x, x)), rtol=1e-12)


def test_systems_are_solved_in_blocks(monkeypatch):
    monkeypatch.setattr("skcode.utils._cholesky._BLOCK", 7)
    rng = np.random.default_rng(0)
    A = np.cov(rng.standard_normal((30, 100)))
    B = rng.standard_normal((30, 2))
    L = A.copy()
    assert factor_in_place(L)
    np.testing.assert_allclose(solve_factor(L, B), np.linalg.solve(A, B), rtol=1e-10)


def test_of_merged_rows_one_copy_is_left_out(data):
    x, y, _ = data
    counts = np.random.default_rng(2).integers(1, 4, len(x)).astype(float)
    fitted = fit_exact(x, y, counts, counts, HYPERPARAMETERS, np.arange(len(x)))
    for i in range(0, len(x), 5):
        fewer = counts - (np.arange(len(x)) == i)
        rest = fewer > 0
        refit = solve(x[rest], y[rest], fewer[rest], x[i : i + 1])
        np.testing.assert_allclose(fitted.left_out[i], refit[0], rtol=1e-7)


def test_a_single_leaf_is_exact(data):
    x, y, weight = data
    counts, every = np.ones(len(x)), np.arange(len(x))
    asked = every[::3]
    exact = fit_exact(x, y, weight, counts, HYPERPARAMETERS, asked)
    some = every[::4]
    fitted = fit_leaves(x, y, weight, counts, HYPERPARAMETERS, some, every, len(x), asked)
    predicted = [each.mean(KERNEL, x + 0.1) for each in (exact, fitted)]
    np.testing.assert_allclose(predicted[1], predicted[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fitted.left_out, exact.left_out, rtol=1e-6, atol=1e-8)


def test_rows_that_come_in_blocks_are_as_good_as_held(data):
    x, y, weight = data
    n, counts = len(x), np.ones(len(x))
    landmarks, local = np.arange(0, n // 2, 5), np.arange(0, n // 2, 2)
    held = fit_leaves(x, y, weight, counts, HYPERPARAMETERS, landmarks, local, 6, local)
    kept = slice(n // 2)
    blocks = [
        Observations(x[rows], y[rows], weight[rows])
        for rows in (slice(n // 2, n // 2 + 7), slice(n // 2 + 7, n))
    ]
    of_kept = x[kept], y[kept], weight[kept], counts[kept], HYPERPARAMETERS
    told = fit_leaves(*of_kept, landmarks, local, 6, local, blocks)
    np.testing.assert_allclose(told.left_out, held.left_out, rtol=1e-7)
    np.testing.assert_allclose(told.mean(KERNEL, x), held.mean(KERNEL, x), rtol=1e-7)
    alone = fit_leaves(*of_kept, landmarks, local, 6, local)
    assert np.abs(alone.mean(KERNEL, x) - held.mean(KERNEL, x)).max() > 1e-3


def test_many_rows_with_hardly_any_noise_have_normal_equations_in_single_precision():
    """Sums of 100,000 rows over a noise of 1e-6, to which a one is added."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (100_000, 2)).astype(np.float32)
    y = (x[:, :1] + x[:, 1:] ** 2).astype(np.float64)
    ones, some = np.ones(len(x)), np.arange(0, 2000, 10)
    smooth = Hyperparameters(Kernel(0.5, 2.0, 0.5, 2.0, 0.5), 1e-6)
    fitted = fit_leaves(x, y, ones, ones, smooth, some, some, 200, some)
    assert np.abs(fitted.mean(smooth.kernel, x[:1000]) - y[:1000]).max() < 0.05


def test_leaves_are_the_dense_formula_and_leave_out_what_refits_do(data):
    """Half of the rows in leaves with others, the rest alone; rows that were merged."""
    x, y, _ = data
    n = len(x)
    counts = np.random.default_rng(2).integers(1, 4, n).astype(float)
    landmarks, local = np.arange(0, n, 5), np.arange(0, n, 2)
    fitted = fit_leaves(x, y, counts, counts, HYPERPARAMETERS, landmarks, local, 6, local)
    leaves = fitted.mean.leaves
    assert leaves.n_leaves == 4
    of_row = np.arange(n) + n
    of_row[local] = leaves(x[local])
    parts = parts_of(KERNEL)
    stationary = *parts[:4], 0.0, *parts[5:]
    z = x[landmarks]

    def covariance(a, b, same):
        """What landmarks explain and what is linear, and all of the kernel within a leaf."""
        whole, linear = dense_kernel(a, b, *parts), KERNEL.linear * (a @ b.T) + 1
        cross = [dense_kernel(c, z, *stationary) - 1 for c in (a, b)]
        among = dense_kernel(z, z, *stationary) - 1
        return np.where(same, whole, cross[0] @ np.linalg.solve(among, cross[1].T) + linear)

    same = of_row[:, None] == of_row
    C = covariance(x, x, same)
    new = x[:10] + 0.1
    between = covariance(new, x, leaves(new)[:, None] == of_row)
    noisy = C + np.diag(HYPERPARAMETERS.noise / counts)
    expected = between @ np.linalg.solve(noisy, y)
    np.testing.assert_allclose(fitted.mean(KERNEL, new), expected, rtol=1e-5, atol=1e-7)
    for k, i in enumerate(local):
        fewer = counts - (np.arange(n) == i)
        rest = fewer > 0
        noisy = C[np.ix_(rest, rest)] + np.diag(HYPERPARAMETERS.noise / fewer[rest])
        refit = C[i, rest] @ np.linalg.solve(noisy, y[rest])
        np.testing.assert_allclose(fitted.left_out[k], refit, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["all different", "half equal", "all equal", "one away"])
def test_leaves_hold_no_more_rows_than_they_may(kind):
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    if kind != "all different":
        x[{"half equal": slice(25), "all equal": slice(50), "one away": slice(1, 50)}[kind]] = 1
    leaves, rows = Leaves.grow(x, 8)
    assert max(map(len, rows)) <= 8
    assert sorted(np.concatenate(rows)) == list(range(50))
    assert leaves.n_leaves == len(rows)
    at = leaves(x)
    if kind == "all different":
        for leaf, each in enumerate(rows):
            assert np.all(at[each] == leaf)
    assert len(np.unique(at[1:25] if kind != "all different" else [0])) == 1


@pytest.mark.parametrize("n", [8, 9, 16, 17, 40, 50, 63, 65])
def test_leaves_are_as_few_and_as_large_as_may_be(n):
    x = np.random.default_rng(0).standard_normal((n, 3))
    sizes = [len(each) for each in Leaves.grow(x, 8)[1]]
    assert len(sizes) == -(-n // 8)
    # each split rounds by less than a row
    assert max(sizes) - min(sizes) <= 2
    assert max(sizes) <= 8


def test_equal_rows_without_noise_are_no_obstacle():
    x = np.zeros((30, 2), np.float32)
    hyperparameters = Hyperparameters(KERNEL, 1e-12)
    fitted = fit_exact(
        x, np.ones((30, 1)), np.ones(30), np.ones(30), hyperparameters, np.arange(30)
    )
    predicted = fitted.mean(KERNEL, x)
    np.testing.assert_allclose(predicted, 1, atol=1e-2)


def test_states_that_overflow_are_told():
    x = np.array([[1e200], [-1e200]])
    with pytest.raises(ValueError, match=r"Scale X"), np.errstate(over="ignore", invalid="ignore"):
        fit_exact(x, x, np.ones(2), np.ones(2), HYPERPARAMETERS, np.arange(2))


# -- calibration ---------------------------------------------------------------------------------


def probabilities(link, f):
    """Of K classes that exclude each other, or of each label by itself."""
    scores = link(f)
    return expit(scores) if link.binary else softmax(scores, axis=1)


def test_a_softmax_on_nothing_gives_the_shares_of_the_classes():
    codes, shares = np.repeat([0, 1, 2], [600, 300, 100]), np.array([0.6, 0.3, 0.1])
    link = calibrate_softmax(np.zeros((1, 1000, 3)), codes, np.ones(1000), shares, 1.0)
    np.testing.assert_allclose(probabilities(link, np.zeros((1, 3)))[0], shares, atol=0.01)


def test_sigmoids_on_nothing_give_the_shares_of_the_labels():
    y = np.stack([np.arange(1000) < 900, np.arange(1000) < 200], axis=1).astype(float)
    link = calibrate_sigmoids(np.zeros((1, 1000, 2)), y, np.ones(1000), y.mean(axis=0), 1.0)
    np.testing.assert_allclose(probabilities(link, np.zeros((1, 2)))[0], [0.9, 0.2], atol=0.01)


def test_predictions_that_are_probabilities_are_left_as_they_are():
    """Two classes overlap by shares from 0 to 1, and a third is always told."""
    rng = np.random.default_rng(0)
    n, scale = 5000, 0.3
    share = rng.uniform(size=n)
    p = np.stack([share, 1 - share, 0 * share], axis=1)
    p[: n // 5] = [0, 0, 1]
    codes = (rng.uniform(size=n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    mean = p.mean(axis=0)
    link = calibrate_softmax(((p - mean) / scale)[None], codes, np.ones(n), mean, scale)
    assert np.abs(probabilities(link, (p - mean) / scale) - p).max() < 0.05
    one = p[n // 5 :, :1]
    y = (codes[n // 5 :] == 0)[:, None].astype(float)
    link = calibrate_sigmoids(
        ((one - 0.5) / scale)[None], y, np.ones(len(y)), np.full(1, 0.5), scale
    )
    assert np.abs(probabilities(link, (one - 0.5) / scale) - one).max() < 0.03


@pytest.mark.parametrize("binary", [False, True])
def test_the_link_is_the_optimum_of_likelihood_and_priors(binary):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 200)
    f = np.eye(3)[codes] - 1 / 3 + 0.5 * rng.standard_normal((200, 3))
    y, weight, mean = np.eye(3)[codes], rng.uniform(0.5, 2, 200), np.full(3, 1 / 3)
    if binary:
        f, y, mean = f[:, :1], y[:, :1], mean[:1]
        link = calibrate_sigmoids(f[None], y, weight, mean, 1.0)
    else:
        link = calibrate_softmax(f[None], codes, weight, mean, 1.0)
    logs = np.log([link.temperature[0], link.power[0], link.sharpness[0]])

    def objective(parameters):
        temperature, power, sharpness = (
            np.full(len(mean), number) for number in np.exp(parameters[:3])
        )
        at = replace(
            link,
            temperature=temperature,
            power=power,
            sharpness=sharpness,
            bias=parameters[3:],
        )
        p = probabilities(at, f)
        moved = parameters[:3] - np.log([1.0, 1.0, 20.0])
        prior = 0.5 * (moved @ moved + parameters[3:] @ parameters[3:])
        # a tenth of an error more than there are, shared among the other classes
        wrong = 0.1 / (weight.sum() + 1)
        shares = (1 - wrong) * y + wrong / (1 if binary else 2) * (1 - y)
        log_p = shares * np.log(p) + ((1 - shares) * np.log(1 - p) if binary else 0)
        return -weight @ log_p.sum(axis=1) + prior

    found = np.concatenate([logs, link.bias])
    assert np.abs(gradient_by_differences(objective, found)).max() < 0.05


def test_calibration_takes_weights_for_repetition():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (60, 1)).astype(float)
    f = y - 0.5 + rng.standard_normal((60, 1))
    counts = rng.integers(1, 4, 60)
    repeated, mean = np.repeat(np.arange(60), counts), np.full(1, 0.5)
    one = calibrate_sigmoids(f[None], y, counts.astype(float), mean, 1.0)
    other = calibrate_sigmoids(f[None, repeated], y[repeated], np.ones(len(repeated)), mean, 1.0)
    np.testing.assert_allclose(one(f), other(f), rtol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
def test_the_slope_of_a_link_is_its_derivative(binary):
    one = np.ones(1)
    link = LogOddsLink(0.4 * one, 0.5, 2 * one, 0.7 * one, 30 * one, 0.1 * one, binary)
    f = np.linspace(-10.01, 9.99, 401)[:, None]
    differences = (link(f + 1e-6) - link(f - 1e-6)) / 2e-6
    np.testing.assert_allclose(link.derivative(f), differences, rtol=1e-6)


# -- controls trained through the evidence -------------------------------------------------------


def small_objective(x, y, weight):
    """Of two neural fields on three states, with controls away from their start."""
    fields = NeuralFields().draw(n_states=3, n_fields=4, rng=0)
    input_map = InputMap(np.zeros(3), np.ones(3), n_states=3)
    model = Model(input_map, fields, get_tableau("euler"), 2, LinearReadout(3, n_outputs=1))
    rng = np.random.default_rng(0)
    start = Evidence(x, y, weight).start
    start[-1] = np.log(0.3 * ROUGH_NOISE)
    counts = 1.0 + np.arange(len(x)) % 3
    controls = rng.standard_normal((2, 4))
    return EvidenceObjective(model, x, y, weight, counts, controls, 0.3, start)


def test_the_gradient_of_the_evidence_in_the_controls(data):
    objective = small_objective(*data)
    at = objective.start + 0.3 * np.random.default_rng(1).standard_normal(len(objective.start))
    index = np.arange(5, 35)
    _, gradient = objective.batch_value_and_grad(at, index)
    differences = gradient_by_differences(lambda z: objective.batch_value_and_grad(z, index)[0], at)
    assert relative_error(gradient, differences) < 1e-4


def test_the_evidence_in_the_states_is_what_autograd_says(data):
    x, y, weight = data
    evidence = Evidence(x, y, weight)
    logs = evidence.start + 0.2
    apart = 1 - np.eye(len(x))

    def minus_log_density(states):
        # autograd has no derivative of a distance of zero: of a point to itself there is none
        difference = states[:, None] - states[None]
        one = anp.sum(anp.abs(difference), axis=2)
        two = anp.sqrt(anp.sum(difference**2, axis=2) + 1 - apart) * apart
        first, length_one, second, length_two, linear, third, length_three, noise = np.exp(logs)
        C = first * anp.exp(-one / length_one) + second * anp.exp(-two / length_two)
        C = (
            C
            + third * anp.exp(-(two**2) / (2 * length_three**2))
            + linear * states @ states.T
            + 1
            + noise * np.diag(1 / weight)
        )
        _, log_determinant = anp.linalg.slogdet(C)
        return 0.5 * anp.sum(y * anp.linalg.solve(C, y)) + 0.5 * y.shape[1] * log_determinant

    value, _, by_states = evidence.with_states(logs)
    assert value == pytest.approx(float(minus_log_density(x)), rel=1e-8)
    assert relative_error(by_states, grad(minus_log_density)(x)) < 1e-5


def test_single_precision_keeps_what_a_step_needs(data):
    x, y, weight = data
    logs = Evidence(x, y, weight).start
    exact, single = (
        Evidence(x, y, weight, dtype=dtype).with_states(logs) for dtype in (np.float64, np.float32)
    )
    for one, other in zip(exact, single, strict=True):
        assert relative_error(other, one) < 1e-4


def test_steps_with_much_noise_are_in_single_precision(data):
    objective = small_objective(*data)
    noisy = objective.start
    noisy[-1] = np.log(2 * ROUGH_NOISE * data[2].max())
    index = np.arange(40)
    value, _ = objective.batch_value_and_grad(noisy, index)
    prior, _ = Evidence.log_prior(noisy[-8:], objective.logs)
    with objective.model.sweep(40) as sweep:
        states = sweep_states(objective.controls, objective.model, data[0], sweep)
    states -= states.mean(axis=0)
    copies = float(objective.counts.sum()) - 40
    exact, single = (
        (Evidence(states, *data[1:], True, copies, dtype).with_states(noisy[-8:])[0] + prior) / 40
        for dtype in (np.float64, np.float32)
    )
    assert value == single != exact
    assert value == pytest.approx(exact, rel=1e-5)


def test_heavy_rows_have_little_noise_and_are_not_rounded(data):
    x, y, weight = data
    heavy = np.where(np.arange(len(x)) == 0, 1e6, weight)
    objective = small_objective(x, y, heavy)
    noisy = objective.start
    noisy[-1] = np.log(10 * ROUGH_NOISE)
    value, _ = objective.batch_value_and_grad(noisy, np.arange(40))
    with objective.model.sweep(40) as sweep:
        states = sweep_states(objective.controls, objective.model, x, sweep)
    states -= states.mean(axis=0)
    prior, _ = Evidence.log_prior(noisy[-8:], objective.logs)
    copies = objective.counts.sum() - 40
    evidence = Evidence(states, y, heavy, copies=copies)
    assert value == (evidence.with_states(noisy[-8:])[0] + prior) / 40


@pytest.mark.parametrize("binary", [True, False])
def test_predictions_that_are_all_right_are_not_taken_for_certain(binary):
    """Without an error the likelihood has no maximum: a tenth of one keeps it."""
    n = 3000
    codes = np.arange(n) % 2
    indicators = np.eye(2)[codes]
    if binary:
        y = codes[:, None].astype(float)
        link = calibrate_sigmoids((y - 0.5)[None], y, np.ones(n), np.full(1, 0.5), 1.0)
        scores = np.hstack([0 * y, link(y - 0.5)])
    else:
        link = calibrate_softmax((indicators - 0.5)[None], codes, np.ones(n), np.full(2, 0.5), 1.0)
        scores = link(indicators - 0.5)
    wrong = 1 / (1 + np.exp((scores * (2 * indicators - 1)).sum(axis=1)))
    # the priors hold it a little further back
    assert 0.1 / n < wrong.min() <= wrong.max() < 10 / n


def test_rows_that_agree_have_no_direction(data):
    x, y, weight = data
    evidence = Evidence(np.vstack([x, x]), np.vstack([y, y]), np.tile(weight, 2))
    _, _, by_states = evidence.with_states(evidence.start)
    assert np.isfinite(by_states).all()
    np.testing.assert_allclose(by_states[: len(x)], by_states[len(x) :], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("levels", [np.inf, 3.0], ids=["all apart", "ties"])
def test_signed_sums_are_those_of_a_loop(levels):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((37, 5))
    if np.isfinite(levels):
        states[:, ::2] = np.rint(states[:, ::2] * levels)
    pull = rng.standard_normal((37, 37))
    pull += pull.T
    np.fill_diagonal(pull, 0)
    signs = np.sign(states[:, None] - states[None])
    expected = np.einsum("ij,ijk->ik", pull, signs)
    np.testing.assert_allclose(signed_sums(pull, states), expected, atol=1e-4)


def test_signed_sums_need_not_tell_equal_states_apart():
    rng = np.random.default_rng(0)
    states = np.repeat(rng.standard_normal((12, 3)), [1, 2, 3] * 4, axis=0)
    states[:, 1] = np.rint(states[:, 1])
    equal = np.all(states[:, None] == states[None], axis=2)
    pull = rng.standard_normal(equal.shape)
    pull = np.where(equal, 0, pull + pull.T)
    expected = np.einsum("ij,ijk->ik", pull, np.sign(states[:, None] - states[None]))
    n_equal = np.count_nonzero(np.triu(equal, 1))
    np.testing.assert_allclose(signed_sums(pull, states, n_equal), expected, atol=1e-4)


def test_an_explosion_is_not_finite(data):
    objective = small_objective(*data)
    with np.errstate(all="ignore"):
        value, _ = objective.batch_value_and_grad(objective.start + 1e300, np.arange(40))
    assert not np.isfinite(value)


def test_steps_raise_the_evidence_and_are_repeatable():
    X, y = make_friedman1(300, random_state=0)
    models = [
        ControlledODERegressor(
            readout=GaussianProcessReadout(n_steps=n_steps), n_members=1, random_state=0
        ).fit(X, y)
        for n_steps in (0, 20, 20)
    ]
    frozen, trained, again = (model.controls_ for model in models)
    np.testing.assert_array_equal(trained, again)
    assert relative_error(trained, frozen) > 0.05
    standardised = ((y - y.mean()) / y.std())[:, None]

    def evidence_of(model):
        states = model.trajectory(X)[-1]
        evidence = Evidence(states - states.mean(axis=0), standardised, np.ones(len(X)))
        return -evidence(evidence.maximise())[0]

    assert evidence_of(models[1]) > evidence_of(models[0]) + 5


def test_frozen_controls_stay_frozen():
    X, y = make_friedman1(100, random_state=0)
    settings = {"n_members": 1, "random_state": 0, "train_controls": False}
    models = [
        ControlledODERegressor(readout=GaussianProcessReadout(n_steps=n_steps), **settings)
        for n_steps in (0, 20)
    ]
    np.testing.assert_array_equal(*(model.fit(X, y).controls_ for model in models))


# -- noise ---------------------------------------------------------------------------------------


def fit_noise(deviation, n=3000):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 2))
    residuals = (rng.standard_normal(n) * deviation(x))[:, None]
    hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 0.5)
    model = NoiseModel.fit(x, residuals, 0 * residuals, hyperparameters, np.arange(200))
    at = rng.uniform(-1, 1, (500, 2))
    return np.sqrt(model(at, hyperparameters.kernel))[:, 0], deviation(at)


def test_noise_that_is_constant_is_found_constant():
    found, _ = fit_noise(lambda x: np.full(len(x), 0.3))
    assert 0.27 < np.median(found) < 0.33
    assert found.max() < 1.3 * found.min()


def test_noise_of_two_levels_is_found():
    found, told = fit_noise(lambda x: np.where(x[:, 0] > 0, 1.0, 0.1))
    for level in (0.1, 1.0):
        assert 0.6 * level < np.median(found[told == level]) < 1.6 * level


def test_the_noise_of_nothing_left_is_finite():
    found, _ = fit_noise(lambda x: np.zeros(len(x)), n=300)
    assert np.isfinite(found).all()


def test_the_variance_at_an_anchor_is_that_of_the_other_anchors(monkeypatch):
    rng = np.random.default_rng(0)
    x, residuals = rng.uniform(-1, 1, (40, 2)), rng.standard_normal((40, 1))
    hyperparameters = Hyperparameters(Kernel(0.7, 1.0, 0.4, 0.5, 0.3), 0.2)
    fit_logs, levels = _noise._fit_logs, []

    def spy(level, *rest):
        levels.append(level)
        return fit_logs(level, *rest)

    monkeypatch.setattr(_noise, "_fit_logs", spy)
    NoiseModel.fit(x, residuals, 0 * residuals, hyperparameters, np.arange(30))
    kernel = hyperparameters.kernel
    for row in (0, 17, 29, 35):
        others = np.setdiff1d(np.arange(30), [row])
        C = kernel(x[others], x[others]) + 0.2 * np.eye(len(others))
        k = kernel(x[[row]], x[others])
        latent = kernel.diagonal(x[[row]]) - k @ np.linalg.solve(C, k.T)
        np.testing.assert_allclose(np.exp(levels[0][row]), latent[0, 0] + 0.2)


# -- choices by left-out rows --------------------------------------------------------------------


def test_the_evidence_is_overruled_only_where_left_out_rows_are_sure():
    rng = np.random.default_rng(0)
    x, ones = rng.uniform(-1, 1, (200, 1)), np.ones(200)
    y = np.sin(3 * x) + 0.3 * rng.standard_normal(x.shape)
    right = Evidence(x, y, ones)
    right = right.hyperparameters(right.maximise())
    too_sure = scaled(right, 1 / 16, 0.25)

    def squares(left_out):
        return (left_out - y)[:, 0] ** 2

    assert choose_factors(x, y, ones, ones, right, squares) == (1.0, 1.0)
    noise, length = choose_factors(x, y, ones, ones, too_sure, squares)
    assert noise > 1 or length > 1
    assert scaled(too_sure, noise, length).noise == noise * too_sure.noise
    # as often as it helps, and then no further
    far_too_sure = scaled(right, 1e-4, 1.0)
    factors = choose_factors(x, y, ones, ones, far_too_sure, squares)
    assert factors[0] >= 64
    enough = scaled(far_too_sure, *factors)
    assert choose_factors(x, y, ones, ones, enough, squares) == (1.0, 1.0)
