"""Losses of the regressor: counts, costs, outliers, quantiles, against truth and scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import GammaRegressor, HuberRegressor, PoissonRegressor
from sklearn.metrics import d2_tweedie_score, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcode import ControlledODERegressor
from skcode.fields import NeuralFields
from skcode.losses import REGRESSION_LOSSES
from skcode.model import check_divergence

#: all but the squared error, which other tests are about
LOSSES = [name for name in REGRESSION_LOSSES if name != "squared_error"]
N = 300


def regressor(loss, **options):
    options = {"n_fields": 16, "n_members": 1, "random_state": 0, **options}
    return ControlledODERegressor(loss=loss, **options)


def checked(loss, **options):
    """A regressor for scikit-learn's checks, which fit hundreds of times."""
    return regressor(loss, n_fields=8, max_iter=50, random_state=None, **options)


@pytest.fixture(scope="module")
def inputs():
    """Training inputs, a thousand others, and a smooth function of each."""
    X = np.random.default_rng(0).random((N + 1000, 4))
    f = 2 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 4 * (X[:, 2] - 0.5) ** 2 + X[:, 3]
    return X, f


def targets(loss, f, rng):
    """Targets for which the loss is made."""
    if loss == "poisson":
        return rng.poisson(np.exp(f - 1)) * 1.0
    if loss == "gamma":
        return 100 * np.exp(f) * rng.gamma(2.0, 0.5, len(f))
    return f + 0.3 * rng.standard_t(1.5, len(f))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles_of_two_values_stay_between_them(quantile):
    """Where a column tells the values apart, left-out scores are far beyond the expansion."""
    X = np.round(np.random.RandomState(0).uniform(size=(40, 10)))
    y = 4 * X[:, 0]
    model = ControlledODERegressor(loss="quantile", quantile=quantile, n_fields=8, random_state=0)
    predicted = model.set_params(n_members=1).fit(X, y).predict(X)
    assert predicted.min() > -4
    assert predicted.max() < 8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([checked("poisson"), checked("quantile")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [checked("gamma"), checked("huber")]
    + [checked(loss, solver=solver) for loss in LOSSES for solver in ("lbfgs", "sgd")]
)
def test_scikit_learns_checks_of_the_others(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("loss", "linear", "power"),
    [("poisson", PoissonRegressor(alpha=1e-3), 1), ("gamma", GammaRegressor(alpha=1e-3), 2)],
)
def test_deviances_beat_a_linear_model_and_boosting(inputs, loss, linear, power):
    X, f = inputs
    y = targets(loss, f, np.random.default_rng(1))
    models = [regressor(loss), linear, HistGradientBoostingRegressor(loss=loss)]
    predictions = [model.fit(X[:N], y[:N]).predict(X[N:]) for model in models]
    ours, *others = (d2_tweedie_score(y[N:], p, power=power) for p in predictions)
    assert predictions[0].min() > 0
    assert ours > max(others)


def test_over_dispersed_counts_are_not_learnt_by_heart(inputs):
    X, f = inputs
    rng = np.random.default_rng(2)
    y = rng.poisson(np.exp(f) * rng.gamma(1.0, size=len(f))) * 1.0
    model = regressor("poisson").fit(X[:N], y[:N])
    assert d2_tweedie_score(y[N:], model.predict(X[N:]), power=1) > 0.1


def test_heavy_tails_do_not_move_huber(inputs):
    X, f = inputs
    y = targets("huber", f, np.random.default_rng(3))
    scores = {
        name: r2_score(f[N:], model.fit(X[:N], y[:N]).predict(X[N:]))
        for name, model in {
            "huber": regressor("huber"),
            "squared": regressor("squared_error", readout="linear"),
            "linear": HuberRegressor(max_iter=1000),
        }.items()
    }
    assert scores["huber"] > 0.75
    assert scores["huber"] > max(scores["squared"], scores["linear"])


@pytest.mark.parametrize("loss", ["huber", "quantile"])
@pytest.mark.parametrize("scaling", ["robust", None])
def test_one_absurd_target_does_no_harm(inputs, loss, scaling):
    X, f = inputs
    y = f[:N].copy()
    y[7] = 1e12
    model = regressor(loss, scaling=scaling).fit(X[:N], y)
    assert r2_score(f[N:], model.predict(X[N:])) > 0.85


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles_cover_what_they_say(inputs, quantile):
    X, f = inputs
    rng = np.random.default_rng(4)
    # noise that is skewed, and ten times as large on one side as on the other
    y = f + (0.1 + X[:, 3]) * rng.standard_exponential(len(f))
    model = regressor("quantile", quantile=quantile, n_members=2).fit(X[:N], y[:N])
    predicted = model.predict(X[N:])
    assert np.mean(y[N:] <= predicted) == pytest.approx(quantile, abs=0.06)
    constant = np.full(1000, np.quantile(y[:N], quantile))
    ours, of_constant = (mean_pinball_loss(y[N:], p, alpha=quantile) for p in (predicted, constant))
    truth = f[N:] - (0.1 + X[N:, 3]) * np.log1p(-quantile)
    assert ours < 0.5 * of_constant + 0.5 * mean_pinball_loss(y[N:], truth, alpha=quantile)


@pytest.mark.parametrize("weighted", [False, True])
def test_extreme_quantiles_of_few_rows_cover_what_they_say(weighted):
    """Without the last step of the fit .85 of new rows are between, in place of .9."""
    covered = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.random((1150, 3))
        y = np.exp(X[:, 0]) + rng.standard_normal(1150)
        weight = rng.integers(1, 3, 150) if weighted else None
        low, high = (
            regressor("quantile", quantile=level).fit(X[:150], y[:150], weight).predict(X[150:])
            for level in (0.05, 0.95)
        )
        covered.append(np.mean((low < y[150:]) & (y[150:] < high)))
    assert 0.87 < np.mean(covered) < 0.96


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repetitions(inputs, loss):
    X, f = inputs
    rng = np.random.default_rng(5)
    y, weight = targets(loss, f, rng)[:60], rng.integers(1, 4, 60)
    weighted = regressor(loss).fit(X[:60], y, sample_weight=weight)
    repeated = regressor(loss).fit(np.repeat(X[:60], weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)


def test_exposure_is_a_weight(inputs):
    """Counts over an exposure, weighted by it, have the likelihood of counts with an offset."""
    X, f = inputs
    rng = np.random.default_rng(6)
    exposure = rng.uniform(0.2, 5.0, len(X))
    rate = rng.poisson(exposure * np.exp(f)) / exposure
    right, wrong = (
        d2_tweedie_score(np.exp(f[N:]), model.predict(X[N:]), power=1)
        for model in (
            regressor("poisson").fit(X[:N], rate[:N], sample_weight=exposure[:N]),
            regressor("poisson").fit(X[:N], exposure[:N] * rate[:N]),
        )
    )
    assert right > 0.8
    assert right > wrong


@pytest.mark.parametrize("rate", [0.003, 0.01, 0.05])
def test_rare_events_are_not_known_by_heart(rate):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 4))
    mean = rate * np.exp(0.5 * X[:, 0])
    events = rng.poisson(mean) * 1.0
    model = regressor("poisson").fit(X[:1000], events[:1000])
    predicted = model.predict(X[1000:])
    assert predicted.max() < 20 * rate
    constant = np.full(2000, events[:1000].mean())

    def cost(predicted):
        return np.mean(predicted - mean[1000:] * np.log(predicted))

    assert cost(predicted) < cost(constant) + 0.5 * rate


def test_means_far_beyond_the_targets_are_warned_of():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 2))
    model = regressor("poisson").fit(X, rng.poisson(np.exp(2 + X[:, 0])))
    target = model.ensemble_.target
    far = np.log(1.01e3 * target.reach)
    with pytest.warns(RuntimeWarning, match="all but explodes for 1 samples"):
        check_divergence(
            np.array([[[0.0], [far]]]), target.reach, X[:2], model.ensemble_.input_map, target.size
        )
    # means next to zero are what rare events ask for
    low = np.full((1, 2, 1), -50.0)
    check_divergence(low, target.reach, X[:2], model.ensemble_.input_map, target.size)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_other_solvers_carry_every_loss(inputs, loss, solver):
    X, f = inputs
    y = targets(loss, f, np.random.default_rng(7))[:N]
    # a strong penalty, since these solvers do not find one; many passes
    model = regressor(loss, solver=solver, alpha=1e-2, max_iter=100).fit(X[:N], y)
    first, last = model.loss_curve_[0], model.loss_curve_[-1]
    assert last < 0.9 * first
    assert model.readout_ == "linear"


@pytest.mark.parametrize("loss", ["poisson", "quantile"])
def test_several_outputs(inputs, loss):
    X, f = inputs
    rng = np.random.default_rng(8)
    Y = np.column_stack([targets(loss, f, rng), targets(loss, 2 - f, rng)])[:N]
    predicted = regressor(loss, n_members=2).fit(X[:N], Y).predict(X[N:])
    assert predicted.shape == (1000, 2)
    assert np.corrcoef(predicted[:, 0], f[N:])[0, 1] > 0.8
    assert np.corrcoef(predicted[:, 1], f[N:])[0, 1] < -0.8


def test_a_search_over_losses(inputs):
    X, f = inputs
    y = targets("gamma", f, np.random.default_rng(9))[:N]
    search = GridSearchCV(
        regressor("huber", n_fields=4), {"loss": list(REGRESSION_LOSSES)}, cv=2, error_score="raise"
    )
    assert search.fit(X[:N], y).best_params_["loss"] in REGRESSION_LOSSES


def test_scores_do_not_depend_on_the_unit_of_targets(inputs):
    X, f = inputs
    for loss in LOSSES:
        y = targets(loss, f, np.random.default_rng(11))[:60]
        small, large = (
            regressor(loss).fit(X[:60], c * y).predict(X) / c for c in (2.0**-30, 2.0**30)
        )
        np.testing.assert_allclose(small, large, rtol=1e-6)


def test_bad_targets_and_parameters_are_named(inputs):
    X = inputs[0][:20]
    y = np.ones(20)
    with pytest.raises(ValueError, match="loss='poisson' requires non-negative y"):
        regressor("poisson").fit(X, y - 2)
    with pytest.raises(ValueError, match=r"loss='poisson' requires .* sum\(y\) > 0"):
        regressor("poisson").fit(X, 0 * y)
    with pytest.raises(ValueError, match="loss='gamma' requires strictly positive y"):
        regressor("gamma").fit(X, np.where(np.arange(20) == 3, 0, y))
    with pytest.raises(ValueError, match="'loss' parameter"):
        regressor("absolute").fit(X, y)
    with pytest.raises(ValueError, match="'quantile' parameter"):
        regressor("quantile", quantile=1.0).fit(X, y)
    with pytest.raises(ValueError, match="readout='gaussian_process' needs loss='squared_error'"):
        regressor("huber", readout="gaussian_process").fit(X, y)
    model = regressor("gamma").fit(X, y)
    with pytest.raises(ValueError, match="return_std=True needs loss='squared_error'"):
        model.predict(X, return_std=True)
    with pytest.raises(ValueError, match="loss='huber' was 'gamma'"):
        model.set_params(warm_start=True, loss="huber").fit(X, y)
    with pytest.raises(ValueError, match="strictly positive"):
        regressor("gamma").fit(X, y, X_val=X, y_val=-y)


def test_the_displacement_readout_carries_a_loss(inputs):
    X, f = inputs
    y = targets("gamma", f, np.random.default_rng(12))[:N]
    model = regressor("gamma", readout="displacement", vector_fields=NeuralFields(), n_states=8)
    assert d2_tweedie_score(y, model.fit(X[:N], y).predict(X[:N]), power=2) > 0.1
    assert clone(model).get_params()["loss"] == "gamma"
