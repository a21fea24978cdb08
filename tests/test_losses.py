"""Losses against autograd of their value, known numbers, and extremes."""

import numpy as np
import pytest
from autograd import elementwise_grad, jacobian
from scipy.special import expit
from scipy.stats import bernoulli, multinomial
from sklearn.metrics import mean_gamma_deviance, mean_pinball_loss, mean_poisson_deviance

from skcode.losses import (
    REGRESSION_LOSSES,
    GammaDeviance,
    Huber,
    PoissonDeviance,
    SigmoidCrossEntropy,
    SmoothPinball,
    SoftmaxCrossEntropy,
    SquaredError,
)

N, K = 40, 3
RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.1, 2, N)
LOSSES = {
    "squared": (SquaredError(), RNG.standard_normal((N, K))),
    "softmax": (SoftmaxCrossEntropy(), RNG.integers(0, K, N)),
    "sigmoid": (SigmoidCrossEntropy(), RNG.integers(0, 2, (N, K)) * 1.0),
}
SCORES = 2 * RNG.standard_normal((N, K))
#: losses with a unit, which the best constant costs half of
SCALED = {
    "poisson": (PoissonDeviance(0.7), RNG.poisson(2.0, (N, K)) * 1.0),
    "gamma": (GammaDeviance(0.7), RNG.gamma(2.0, size=(N, K))),
    "huber": (Huber(0.5, 0.7), RNG.standard_t(2, (N, K))),
    "pinball": (SmoothPinball(0.9, 0.3, 0.7), RNG.standard_t(2, (N, K))),
}
ALL = {**LOSSES, **SCALED}
every_loss = pytest.mark.parametrize(("loss", "y"), ALL.values(), ids=ALL)
scaled_losses = pytest.mark.parametrize(("loss", "y"), SCALED.values(), ids=SCALED)
likelihoods = pytest.mark.parametrize(("loss", "y"), LOSSES.values(), ids=LOSSES)
cross_entropies = pytest.mark.parametrize(
    ("loss", "y"), [LOSSES["softmax"], LOSSES["sigmoid"]], ids=["softmax", "sigmoid"]
)


@every_loss
def test_the_gradient_is_the_derivative_of_the_value(loss, y):
    exact = elementwise_grad(lambda s: loss.value(s, y))(SCORES)
    np.testing.assert_allclose(loss.gradient(SCORES, y), exact, atol=1e-14)


@every_loss
def test_the_curvature_is_the_second_derivative(loss, y):
    a = loss.hessian(SCORES, y)
    for n in range(5):
        row = slice(n, n + 1)
        exact = jacobian(elementwise_grad(lambda s, row=row: loss.value(s, y[row])))(SCORES[row])
        matrix = np.diag(a[n]) - (np.outer(a[n], a[n]) if loss.coupled else 0)
        np.testing.assert_allclose(exact[0, :, 0], matrix, atol=1e-14)


def test_values_are_negative_log_likelihoods():
    (squared, targets), (softmax, codes), (sigmoid, labels) = LOSSES.values()
    np.testing.assert_allclose(
        squared.value(SCORES, targets), 0.5 * np.sum((SCORES - targets) ** 2, axis=1)
    )
    p = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
    log_p = [multinomial.logpmf(np.eye(K)[c], 1, q) for c, q in zip(codes, p, strict=True)]
    np.testing.assert_allclose(softmax.value(SCORES, codes), np.negative(log_p), rtol=1e-12)
    log_p = bernoulli.logpmf(labels, expit(SCORES)).sum(axis=1)
    np.testing.assert_allclose(sigmoid.value(SCORES, labels), -log_p, rtol=1e-12)


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes():
    codes = np.arange(4)
    np.testing.assert_allclose(SoftmaxCrossEntropy().value(np.full((4, 4), 7.0), codes), np.log(4))
    np.testing.assert_allclose(
        SigmoidCrossEntropy().value(np.zeros((4, 1)), np.eye(4)[:, :1]), np.log(2)
    )


@likelihoods
def test_the_mean_is_where_the_gradient_vanishes(loss, y):
    mean = loss.inverse_link(SCORES)
    targets = np.eye(K)[y] if loss.coupled else y
    np.testing.assert_allclose(mean - targets, loss.gradient(SCORES, y), atol=1e-14)
    if loss.coupled:
        np.testing.assert_allclose(mean.sum(axis=1), 1)


@every_loss
def test_initial_scores_are_the_best_constants(loss, y):
    constant = loss.initial_scores(y, WEIGHT, K)
    scores = np.broadcast_to(constant, (N, K))
    np.testing.assert_allclose(WEIGHT @ loss.gradient(scores, y), 0, atol=1e-12)
    whole = np.round(2 * WEIGHT).astype(int)
    np.testing.assert_allclose(
        loss.initial_scores(y, whole * 1.0, K),
        loss.initial_scores(np.repeat(y, whole, axis=0), np.ones(whole.sum()), K),
        atol=1e-13,
    )


@cross_entropies
def test_a_constant_target_has_finite_initial_scores(loss, y):
    assert np.isfinite(loss.initial_scores(np.zeros_like(y), WEIGHT, K)).all()


@every_loss
def test_single_precision_stays(loss, y):
    scores, y32 = SCORES.astype(np.float32), y if loss.coupled else y.astype(np.float32)
    for result, exact in [
        (loss.value(scores, y32), loss.value(SCORES, y)),
        (loss.gradient(scores, y32), loss.gradient(SCORES, y)),
        (loss.hessian(scores, y32), loss.hessian(SCORES, y)),
        (loss.inverse_link(scores), loss.inverse_link(SCORES)),
    ]:
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cross_entropies
def test_huge_scores_cost_finite_numbers(loss, y, dtype):
    for size in (1e3, 1e30):
        scores = (np.sign(SCORES) * size).astype(dtype)
        traced = elementwise_grad(lambda s: loss.value(s, y))(scores)
        for result in (
            loss.value(scores, y),
            loss.gradient(scores, y),
            loss.inverse_link(scores),
            traced,
        ):
            assert np.isfinite(result).all()
        assert loss.value(scores, y).min() >= 0
        assert loss.hessian(scores, y).min() >= 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_probabilities_are_never_0_or_1(dtype):
    p = SigmoidCrossEntropy().inverse_link(np.array([[-1e30, -40, 0, 40, 1e30]], dtype))
    assert p.dtype == dtype
    assert p.min() > 0
    assert p.max() < 1
    assert p[0, 2] == 0.5


# -- losses of real targets ------------------------------------------------------------------------


@scaled_losses
def test_the_noise_of_the_best_constant_is_one_an_output(loss, y):
    loss = loss.standardised(y, WEIGHT)
    constant = np.broadcast_to(loss.initial_scores(y, WEIGHT, K), (N, K))
    assert np.average(loss.dispersion(constant, y), weights=WEIGHT) == pytest.approx(K / 2)


@scaled_losses
def test_a_constant_target_has_a_unit(loss, y):
    constant = np.ones_like(y)
    loss = loss.standardised(constant, WEIGHT)
    assert np.isfinite(loss.initial_scores(constant, WEIGHT, K)).all()
    assert 0 < loss.unit < np.inf


def test_deviances_are_those_of_scikit_learn():
    for name, deviance in (("poisson", mean_poisson_deviance), ("gamma", mean_gamma_deviance)):
        loss, y = REGRESSION_LOSSES[name](), SCALED[name][1][:, :1]
        mean = loss.inverse_link(SCORES[:, :1])
        assert 2 * loss.value(SCORES[:, :1], y).mean() == pytest.approx(deviance(y, mean))


def test_the_smooth_pinball_loss_becomes_the_pinball_loss():
    scores, y = SCORES[:, :1], SCALED["pinball"][1][:, :1]
    value = SmoothPinball(0.9, smoothing=1e-9).value(scores, y).mean()
    assert value == pytest.approx(mean_pinball_loss(y, scores, alpha=0.9))


def test_noise_is_estimated_without_bias():
    """Twice the dispersion is the factor of the variance function, at the true mean."""
    rng, n = np.random.default_rng(0), 200_000
    s = rng.normal(-2, 0.5, (n, 1))
    # means so small that the deviance is far from its number of observations
    sparse = rng.poisson(np.exp(s)) * 1.0
    assert 2 * PoissonDeviance().dispersion(s, sparse).mean() == pytest.approx(1, rel=0.03)
    assert 2 * PoissonDeviance().value(s, sparse).mean() < 0.7
    assert PoissonDeviance().sparsity(s, sparse).mean() == pytest.approx(1, rel=0.03)
    costs = np.exp(s) * rng.gamma(0.5, 2.0, (n, 1))
    assert 2 * GammaDeviance().dispersion(s, costs).mean() == pytest.approx(2, rel=0.03)
    residuals = rng.standard_normal((n, 1))
    assert 2 * SquaredError().dispersion(0 * s, residuals).mean() == pytest.approx(1, rel=0.03)


def test_noise_of_events_that_a_model_knows_by_heart_is_no_less():
    """Pearson's residuals vanish with the means of rows without events; Fletcher's do not."""
    events = np.zeros((1000, 1))
    events[::100] = 1.0
    learnt = np.where(events > 0, np.log(0.5), np.log(1e-4))
    loss = PoissonDeviance()
    pearson, sparsity = (f(learnt, events).mean() for f in (loss.dispersion, loss.sparsity))
    assert 2 * pearson < 0.01
    assert 2 * pearson / sparsity == pytest.approx(0.25, rel=0.05)
    assert loss.telling_share(events, np.ones(1000)) == pytest.approx(0.01)


def test_logarithmic_scores_give_positive_finite_means():
    for dtype in (np.float32, np.float64):
        mean = PoissonDeviance().inverse_link(np.array([[-1e30, -800, 0, 800, 1e30]], dtype))
        assert mean.dtype == dtype
        assert mean.min() > 0
        assert np.isfinite(mean).all()


def test_an_outlier_does_not_move_the_unit():
    y = RNG.standard_normal((101, 1))
    for loss in (Huber(), SmoothPinball(0.5)):
        units = []
        for outlier in (1e3, 1e12):
            y[7] = outlier
            units.append(loss.standardised(y, np.ones(101)).unit)
        assert units[0] == pytest.approx(units[1])
        assert units[0] < 2
