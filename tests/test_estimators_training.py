"""Training: randomness, curves, stopping, streams, interrupts, printing."""

import io
import threading
import time
import warnings

import numpy as np
import pytest
from helpers import ctrl_c_field, interrupting_field
from joblib import parallel_config
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import FunctionFields, NeuralFields
from skcode.gaussian_process import GaussianProcessReadout
from skcode.solvers import LBFGS, SGD, Adam, GaussNewton
from skcode.training import _monitor

SOLVERS = ["gauss-newton", "lbfgs", "sgd", "adam"]
STOCHASTIC = ["sgd", "adam"]
SMALL = {"n_members": 1, "n_fields": 6, "n_states": 8, "max_iter": 6, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


def classifier(**kwargs):
    return ControlledODEClassifier(**{**SMALL, **kwargs})


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(200, n_features=5, noise=1.0, random_state=0)


@pytest.fixture(scope="module")
def classes(friedman):
    X, y = friedman
    return X, np.digitize(y, [11, 17])


# -- randomness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_seed_fixes_every_bit(friedman, solver):
    X, y = friedman
    runs = [regressor(solver=solver, n_members=2).fit(X, y) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].controls_, runs[1].controls_)
    np.testing.assert_array_equal(runs[0].predict(X), runs[1].predict(X))
    assert not np.array_equal(runs[0].controls_[0], runs[0].controls_[1])
    other = regressor(solver=solver, n_members=2, random_state=1).fit(X, y)
    assert not np.array_equal(runs[0].controls_, other.controls_)
    np.testing.assert_array_equal(runs[0].fit(X, y).predict(X), runs[1].predict(X))


def test_random_states_advance_and_none_differs(friedman):
    X, y = friedman
    state = np.random.RandomState(0)
    first, second = (regressor(random_state=state).fit(X, y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = regressor(random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    np.testing.assert_array_equal(first, again)
    unseeded = [regressor(random_state=None).fit(X, y).predict(X) for _ in range(2)]
    assert not np.array_equal(*unseeded)


def test_the_global_generator_is_left_alone(friedman):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    regressor(solver="adam", early_stopping=True).fit(*friedman)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_more_members_begin_with_the_fewer(friedman):
    X, y = friedman
    few, many = (regressor(n_members=k, max_iter=1).fit(X, y) for k in (2, 3))
    for a, b in zip(few.vector_fields_, many.vector_fields_, strict=False):
        np.testing.assert_array_equal(a.value(np.ones((1, 8))), b.value(np.ones((1, 8))))


# -- curves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_has_the_same_curves(friedman, solver, n_members):
    X, y = friedman
    model = regressor(solver=solver, n_members=n_members, max_iter=20).fit(X, y)
    curves = model.loss_curve_ if n_members > 1 else [model.loss_curve_]
    last = model.loss_ if n_members > 1 else [model.loss_]
    assert len(curves) == n_members
    for curve, loss in zip(curves, last, strict=True):
        assert np.isfinite(curve).all()
        assert curve[-1] == loss < curve[0]
    assert model.n_iter_ == max(map(len, curves))
    attributes = {"validation_loss_curve_", "validation_scores_", "best_validation_score_"}
    assert attributes <= set(vars(model))


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_curve_is_in_units_of_the_loss(friedman, solver):
    X, y = friedman
    # with a fixed penalty: what Gauss-Newton lowers without one is no loss
    options = {"solver": solver, "max_iter": 40, "alpha": 1e-4, "scaling": "standard"}
    model = regressor(readout="linear", **options).fit(X, y)
    loss = 0.5 * np.mean((model.predict(X) - y) ** 2) / y.var()
    assert 0.5 * loss < model.loss_curve_[-1] < 2 * loss + 0.05


def test_a_fit_that_starts_at_the_optimum_has_a_loss(friedman):
    X, _ = friedman
    for solver in SOLVERS:
        model = regressor(solver=solver, alpha=0.0).fit(X, np.full(len(X), 3.0))
        np.testing.assert_allclose(model.predict(X), 3.0, rtol=1e-6)
        assert model.loss_ == pytest.approx(0, abs=1e-8)
        assert len(model.loss_curve_) == model.n_iter_


# -- validation and early stopping ---------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_early_stopping_restores_the_best_iterate(friedman, solver, n_members):
    X, y = friedman
    X_val, y_val = X[150:], y[150:]
    model = regressor(
        solver=solver,
        n_members=n_members,
        early_stopping=True,
        n_iter_no_change=3,
        max_iter=60,
        alpha=0.0,
        scaling="standard",
    ).fit(X[:40], y[:40], X_val=X_val, y_val=y_val)
    curves = model.validation_loss_curve_ if n_members > 1 else [model.validation_loss_curve_]
    best = [min(curve) for curve in curves]
    variance = y[:40].var()
    if n_members == 1:
        loss = 0.5 * np.mean((model.predict(X_val) - y_val) ** 2) / variance
        assert loss == pytest.approx(best[0], rel=1e-6)
        assert model.best_validation_score_ == pytest.approx(max(model.validation_scores_))
        assert model.score(X_val, y_val) == pytest.approx(
            model.validation_scores_[int(np.argmin(curves[0]))]
        )
    for curve in curves:
        assert len(curve) < 60
        assert len(curve) - 1 - int(np.argmin(curve)) <= 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_validation_set_without_early_stopping_only_watches(classes, solver):
    X, y = classes
    model = classifier(solver=solver, readout="linear")
    expected = model.fit(X, y).predict_proba(X)
    watched = model.fit(X, y, X_val=X[:30], y_val=y[:30])
    np.testing.assert_array_equal(watched.predict_proba(X), expected)
    assert len(watched.validation_loss_curve_) == len(watched.loss_curve_)
    assert watched.validation_scores_[-1] == pytest.approx(watched.score(X[:30], y[:30]), abs=0.2)


def test_the_score_of_the_validation_part_is_weighted(classes):
    X, y = classes
    weight = np.where(np.arange(30) < 10, 1.0, 0.0)
    kwargs = {"X_val": X[:30], "y_val": y[:30]}
    model = classifier(solver="sgd").fit(X, y, **kwargs, sample_weight_val=weight)
    other = classifier(solver="sgd").fit(X, y, X_val=X[:10], y_val=y[:10])
    assert model.validation_loss_curve_ == other.validation_loss_curve_
    assert model.validation_scores_ == other.validation_scores_


@pytest.mark.parametrize("n_members", [1, 3])
def test_the_validation_part_is_stratified_and_fresh_for_each_member(classes, n_members):
    X, _ = classes
    rare = (np.arange(len(X)) < 6).astype(int)
    model = classifier(
        solver="sgd", early_stopping=True, validation_fraction=0.34, n_members=n_members
    ).fit(X, rare)
    assert model.predict(X).shape == rare.shape
    assert np.ndim(model.best_validation_score_) == (0 if n_members == 1 else 1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"X_val": "X"}, "X_val and y_val must be given together"),
        ({"y_val": "y"}, "X_val and y_val must be given together"),
        ({"X_val": "narrow", "y_val": "y"}, "expecting 5 features"),
        ({"X_val": "X", "y_val": "short"}, "inconsistent numbers of samples"),
        ({"X_val": "X", "y_val": "unknown"}, "labels that are not among"),
        ({"X_val": "infinite", "y_val": "y"}, "infinity"),
        ({"X_val": "X", "y_val": "y", "sample_weight_val": "zero"}, "(?i)weight"),
        ({"sample_weight_val": "zero"}, "sample_weight_val"),
    ],
)
def test_bad_validation_sets(classes, kwargs, message):
    X, y = classes
    values = {
        "X": X,
        "y": y,
        "narrow": X[:, :3],
        "short": y[:-1],
        "unknown": y + 7,
        "infinite": np.full_like(X, np.inf),
        "zero": np.zeros(len(y)),
    }
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, y, **{name: values[value] for name, value in kwargs.items()})


# -- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [*STOCHASTIC, "auto"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_partial_fit_learns_from_batches(friedman, classes, solver, n_members):
    X, y = friedman
    model = regressor(solver=solver, n_members=n_members)
    scores = []
    for _ in range(30):
        for start in range(0, 200, 50):
            model.partial_fit(X[start : start + 50], y[start : start + 50])
        scores.append(model.score(X, y))
    assert scores[-1] > max(0.5, scores[0])
    assert model.n_iter_ == 120
    X, y = classes
    model = classifier(solver=solver, n_members=n_members)
    for _ in range(40):
        model.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
        model.partial_fit(X[y > 0], y[y > 0])
    assert model.score(X, y) > 0.5
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("solver", [*STOCHASTIC, "auto"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_partial_fit_goes_on_after_fit(friedman, solver, early_stopping):
    X, y = friedman
    kwargs = {"solver": solver, "early_stopping": early_stopping}
    model = regressor(**kwargs, readout="linear", max_iter=20).fit(X, y)
    before = model.predict(X)
    model.set_params(early_stopping=False).partial_fit(X[:100], y[:100])
    assert not np.array_equal(before, model.predict(X))
    assert np.corrcoef(before, model.predict(X))[0, 1] > 0.9


def test_fit_after_partial_fit_forgets(friedman):
    X, y = friedman
    model = regressor(solver="adam").partial_fit(X[:50, :3], y[:50])
    np.testing.assert_array_equal(
        model.fit(X, y).predict(X), regressor(solver="adam").fit(X, y).predict(X)
    )


def test_partial_fit_multilabel(classes):
    X, y = classes
    Y = np.column_stack([y > 0, y > 1]).astype(int)
    model = classifier(solver="adam")
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1])
    assert model.predict(X).shape == Y.shape


def test_partial_fit_takes_weights(friedman):
    X, y = friedman
    weight = np.arange(200) % 3
    weighted = regressor(solver="sgd").partial_fit(X, y, sample_weight=weight)
    repeated = regressor(solver="sgd").partial_fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))


def test_partial_fit_goes_on_when_the_solver_is_changed(friedman):
    X, y = friedman
    model = regressor(solver="sgd").partial_fit(X, y)
    model.set_params(solver="adam").partial_fit(X, y)
    model.set_params(solver="sgd").partial_fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_bad_streams(friedman, classes):
    X, y = classes
    model = classifier(solver="adam").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes differ"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2], y)
    with pytest.raises(ValueError, match="not among the classes"):
        classifier(solver="adam").partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="at least 2 classes"):
        classifier(solver="adam").partial_fit(X[y == 0], y[y == 0])
    X, y = friedman
    model = regressor(solver="adam").partial_fit(X, y)
    with pytest.raises(ValueError, match="outputs"):
        model.partial_fit(X, np.column_stack([y, y]))


@pytest.mark.parametrize(
    "solver",
    [
        SGD(momentum=1.5),
        SGD(learning_rate="wrong"),
        SGD(learning_rate_init=-1.0),
        Adam(batch_size=0),
        Adam(beta_1=1.0),
        Adam(batch_size="many"),
    ],
)
def test_bad_solver_parameters_are_named_by_fit_and_partial_fit(friedman, solver):
    name = next(n for n, v in solver.get_params().items() if v != type(solver)().get_params()[n])
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=name):
            getattr(regressor(solver=solver), method)(*friedman)


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs", LBFGS(), GaussNewton()])
def test_partial_fit_needs_a_stochastic_solver(friedman, solver):
    for model in (regressor(solver=solver), classifier(solver=solver)):
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError, match="'partial_fit': .*a stochastic solver"):
            model.partial_fit(*friedman)
    assert not hasattr(ControlledODETransformer(), "partial_fit")


# -- warm starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_goes_on(friedman, solver):
    X, y = friedman
    kwargs = {"solver": solver, "alpha": 1e-4, "n_members": 2, "scaling": "standard"}
    once = regressor(**kwargs, max_iter=5).fit(X, y)
    warm = regressor(**kwargs, max_iter=5, warm_start=True)
    fields = warm.fit(X, y).vector_fields_
    np.testing.assert_array_equal(warm.predict(X), once.predict(X))
    for _ in range(4):
        warm.fit(X, y)
    assert all(a is b for a, b in zip(warm.vector_fields_, fields, strict=True))
    # the loss is what goes on; the readout of a process fits the training rows from the start
    assert np.mean(warm.loss_) < np.mean(once.loss_)
    cold = regressor(**kwargs, max_iter=5).fit(X, y)
    np.testing.assert_array_equal(cold.fit(X, y).predict(X), once.predict(X))


def test_warm_start_checks_what_it_meets(friedman, classes):
    X, y = classes
    model = classifier(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        model.fit(X[:, :3], y)
    with pytest.raises(ValueError, match="not among the classes"):
        model.fit(X, y + 1)
    model.fit(X[y < 2], y[y < 2])
    assert model.predict_proba(X).shape == (200, 3)


def test_a_failed_fit_leaves_no_trace(friedman):
    X, y = friedman
    model = regressor(scaling=None, warm_start=True, readout="linear")
    with pytest.raises(ValueError, match="overflow"):
        model.fit(X[:, :3], 1e200 * y)
    with pytest.raises(NotFittedError):
        model.predict(X[:, :3])
    assert model.fit(X, y).predict(X).shape == (200,)


# -- interrupts, warnings, printing --------------------------------------------------------------


class InterruptedMonitor(_monitor.TrainingMonitor):
    """Raises a KeyboardInterrupt, once, when the call numbered `at` comes in."""

    calls = 0
    at = 3

    def __call__(self, theta, loss, parts=None):
        stop = super().__call__(theta, loss, parts)
        type(self).calls += 1
        if type(self).calls == self.at:
            raise KeyboardInterrupt
        return stop


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupt_leaves_a_usable_model(friedman, monkeypatch, solver, n_members, at):
    from skcode.training import _training

    X, y = friedman
    monitor = type("Monitor", (InterruptedMonitor,), {"calls": 0, "at": at})
    monkeypatch.setattr(_training, "TrainingMonitor", monitor)
    model = regressor(solver=solver, n_members=n_members, max_iter=20)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    # one Ctrl-C ends the fit, not only the member that it meets
    assert monitor.calls == at
    assert np.isfinite(model.predict(X)).all()
    assert model.n_iter_ == at
    curve = model.loss_curve_ if n_members == 1 else model.loss_curve_[0]
    assert np.ndim(curve) == 0 or len(curve) == at


def test_an_interrupt_before_the_first_iteration(friedman, monkeypatch):
    def minimize(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(GaussNewton, "minimize", minimize)
    model = regressor()
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(*friedman)
    assert np.isfinite(model.predict(friedman[0])).all()


def test_an_interrupt_keeps_the_best_iterate(friedman, monkeypatch):
    from skcode.training import _training

    X, y = friedman
    monitor = type("Monitor", (InterruptedMonitor,), {"calls": 0, "at": 5})
    monkeypatch.setattr(_training, "TrainingMonitor", monitor)
    model = regressor(solver="sgd", early_stopping=True, max_iter=20)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y, X_val=X[:50], y_val=y[:50])
    best = model.validation_scores_[int(np.argmin(model.validation_loss_curve_))]
    assert model.score(X[:50], y[:50]) == pytest.approx(best)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_anywhere_in_an_ensemble_leaves_the_members_that_moved(friedman, solver):
    X, y = friedman

    def specified(field):
        family = FunctionFields([field]) | NeuralFields()
        return regressor(vector_fields=family, solver=solver, n_members=3, max_iter=3)

    undisturbed = ctrl_c_field(at=0)
    whole = specified(undisturbed).fit(X, y)
    reached = set()
    for share in (0.05, 0.4, 0.5, 0.6, 0.95):
        # the first calls are those of the draws, before there is anything to keep
        model = specified(ctrl_c_field(at=4 + int(share * (undisturbed.calls - 4))))
        with pytest.raises(KeyboardInterrupt, match="interrupted"):
            model.fit(X, y)
        curves = model.loss_curve_ if model.controls_.ndim == 3 else [model.loss_curve_]
        reached.add(len(curves))
        for k, (curve, full) in enumerate(zip(curves, whole.loss_curve_, strict=False)):
            # what came before the interrupt is what would have been
            assert curve == full[: len(curve)]
            assert curve or k == 0
        assert np.isfinite(model.predict(X)).all()
        assert model.n_parameters_ == len(curves) * whole.n_parameters_ // 3
    assert {1, 2} <= reached


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_with_threads_leaves_no_pool_behind(friedman):
    X, y = (np.repeat(part, 20, axis=0) for part in friedman)
    X = X + 1e-3 * np.random.default_rng(0).standard_normal(X.shape)
    model = regressor(
        vector_fields=FunctionFields([ctrl_c_field(at=40)]) | NeuralFields(), n_jobs=2
    )
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    # threads end on their own, some time after the pool does
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.1)
    assert threading.active_count() <= before


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_ctrl_c_stops_a_search(friedman, n_jobs):
    X, y = friedman
    field = ctrl_c_field(at=40)
    model = regressor(vector_fields=FunctionFields([field]) | NeuralFields())
    search = GridSearchCV(model, {"alpha": [1e-3, 1e-2, 1e-1, 1.0]}, cv=2, n_jobs=n_jobs)
    # in threads of this process, so that the key that is pressed in one of them is ours
    with parallel_config("threading"), pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert not hasattr(search, "cv_results_")


@pytest.mark.slow
def test_an_interrupt_in_a_process_stops_a_search(friedman):
    X, y = friedman
    model = regressor(vector_fields=FunctionFields([interrupting_field]) | NeuralFields())
    search = GridSearchCV(model, {"alpha": [1e-2, 1e-1]}, cv=2, n_jobs=2)
    # no candidate gets a score of what it had reached
    with parallel_config("loky"), pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert not hasattr(search, "cv_results_")


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_in_a_warm_start_keeps_all_members(friedman):
    X, y = friedman
    field = ctrl_c_field(at=0)
    family = FunctionFields([field]) | NeuralFields()
    model = regressor(vector_fields=family, n_members=3, warm_start=True).fit(X, y)
    field.at = field.calls + 20
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    assert len(model.controls_) == 3
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
def test_too_few_iterations_warn(friedman, solver):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        regressor(solver=solver, max_iter=2).fit(*friedman)


def test_defaults_do_not_warn(friedman, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ControlledODERegressor(n_members=1).fit(*friedman)
        ControlledODEClassifier(n_members=1).fit(*classes)


@pytest.mark.parametrize("solver", SOLVERS)
def test_verbose_prints_a_line_an_iteration(friedman, capsys, solver):
    X, y = friedman
    model = regressor(solver=solver, verbose=True, n_members=2).fit(
        X, y, X_val=X[:50], y_val=y[:50]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(map(len, model.loss_curve_))
    assert lines[0].startswith("[ControlledODERegressor] member 1, iteration 1, loss ")
    assert "validation loss" in lines[0]
    assert "member 2, iteration 1," in "\n".join(lines)
    regressor(solver=solver).fit(X, y)
    assert capsys.readouterr().out == ""


def test_verbose_tells_the_passes_through_the_evidence_of_the_readout(friedman, capsys):
    options = {"readout": GaussianProcessReadout(n_steps=3), "n_members": 1}
    regressor(**options, verbose=True).fit(*friedman)
    lines = capsys.readouterr().out.splitlines()
    passes = [line for line in lines if "through the evidence of the readout, loss " in line]
    n_passes = int(passes[0].split(" of ")[1].split()[0])
    assert passes[0].startswith(f"[ControlledODERegressor] member 1, pass 1 of {n_passes} through")
    assert len(passes) == n_passes > 0


@pytest.mark.parametrize("readout", ["linear", "gaussian_process"])
def test_what_verbose_prints_of_the_evidence_falls(capsys, readout):
    X, y = make_friedman1(200, n_features=5, noise=1.0, random_state=0)
    model = regressor(n_fields=16, verbose=True, readout=readout, max_iter=12).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    said = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    np.testing.assert_allclose(said, model.loss_curve_, rtol=1e-4)
    # minus the log evidence: after the highest a few steps see whether it goes on
    assert sum(np.diff(said) > 0) <= 3 < len(said)
    data = [float(line.split("data ")[1].split(",")[0]) for line in lines]
    assert min(data) > 0
    # where the penalty is given, the loss with it falls at each step
    fixed = regressor(verbose=True, readout=readout, alpha=1e-3).fit(X, y)
    capsys.readouterr()
    assert np.all(np.diff(fixed.loss_curve_) <= 0)


class Stream(io.StringIO):
    """Standard output that keeps what comes in one piece."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)
        return super().write(text)


def test_lines_of_several_jobs_stay_whole_and_name_their_job(friedman, monkeypatch):
    stream = Stream()
    monkeypatch.setattr("sys.stdout", stream)
    with parallel_config("threading"):
        search = GridSearchCV(regressor(verbose=True), {"alpha": [1e-3, 1e-2]}, cv=2, n_jobs=2)
        search.fit(*friedman)
    lines = [piece for piece in stream.pieces if "iteration" in piece]
    assert all(line.startswith("[ControlledODERegressor") for line in lines)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    speakers = {line.split("]")[0] for line in lines}
    # the refit is in the main thread
    assert "[ControlledODERegressor" in speakers
    assert len(speakers) > 1


def test_the_default_depth_grows_with_the_distinct_rows():
    X, y = make_friedman1(1000, n_features=5, random_state=0)
    small = regressor(n_intervals=None, max_iter=1, alpha=1e-3, readout="linear", n_members=1)
    assert small.fit(X, y).controls_.shape[0] == 3
    assert small.fit(X[1:], y[1:]).controls_.shape[0] == 2
    twice = np.r_[X[1:], X[1:]], np.r_[y[1:], y[1:]]
    assert small.fit(*twice).controls_.shape[0] == 2


def test_auto_is_gauss_newton_while_its_matrix_is_small():
    X, y = make_friedman1(60, n_features=5, random_state=0)
    assert isinstance(regressor(solver="auto").fit(X, y).solver_, GaussNewton)
    many = regressor(solver="auto", n_fields=1600, max_iter=1)
    assert isinstance(many.fit(X, y).solver_, LBFGS)
    # the matrix of many classes has few entries beside those of its blocks
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 100
    several = classifier(solver="auto", n_states=40, max_iter=1, alpha=1e-2)
    several.fit(rng.standard_normal((200, 3)), labels)
    assert several.n_parameters_ > 4000
    assert isinstance(several.solver_, GaussNewton)


def test_only_regression_keeps_the_posterior(friedman, classes):
    linear = {"readout": "linear"}
    assert regressor(**linear).fit(*friedman).ensemble_.members[0].posterior is not None
    assert classifier(**linear).fit(*classes).ensemble_.members[0].posterior is None
    # the deviations of a Gaussian process are its own
    assert regressor().fit(*friedman).ensemble_.members[0].posterior is None
