"""scikit-learn's callbacks on our fits, alone and nested (collected from scikit-learn 1.9 on)."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import make_classification, make_friedman1
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.solvers import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(200, random_state=0)


def regressor(**kwargs):
    return ControlledODERegressor(**{"n_fields": 8, "n_members": 2, "random_state": 0, **kwargs})


class Recorder:
    """A callback that writes down what it is told, and says stop when asked to."""

    def __init__(self, stop_at=()):
        self.told = []
        self.stop_at = stop_at
        self.opened = self.closed = 0
        self.scores = []

    def setup(self, estimator, context):
        self.opened += 1

    def teardown(self, estimator, context):
        self.closed += 1

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.told.append(("end", context.task_name, context.task_id))
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y, **(metadata or {})))
        return (context.task_name, context.task_id) in self.stop_at

    def ended(self, name):
        return [task_id for event, task, task_id in self.told if (event, task) == ("end", name)]


def width(estimator, X, y):
    return {"width": estimator.transform(X).shape[1]}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_members", [1, 2])
def test_every_iteration_of_every_member_is_told(friedman, solver, n_members):
    recorder = Recorder()
    model = regressor(solver=solver, n_members=n_members, max_iter=4, tol=10.0)
    model.set_callbacks(recorder).fit(*friedman)
    curves = model.loss_curve_ if n_members > 1 else [model.loss_curve_]
    assert recorder.ended("fit") == [0]
    assert recorder.ended("member") == list(range(n_members))
    # each begin has its end, and the one that is begun in advance is closed
    begun = [told[1:] for told in recorder.told if told[0] == "begin"]
    ended = [told[1:] for told in recorder.told if told[0] == "end"]
    assert sorted(begun) == sorted(ended)
    spare = len(recorder.ended("iteration")) - sum(map(len, curves))
    assert 0 <= spare <= n_members
    # iterations that ran, members and the whole have an estimator each
    assert len(recorder.scores) == sum(map(len, curves)) + n_members + 1
    # the last member completes the model, but for the process, which was fitted to some rows
    assert recorder.scores[-1] == model.score(*friedman)
    tolerance = 1e-3 if solver == "gauss-newton" else 0
    assert recorder.scores[-2] == pytest.approx(recorder.scores[-1], abs=tolerance)
    assert (recorder.opened, recorder.closed) == (1, 1)


def test_the_estimator_that_is_told_is_the_one_that_an_end_would_leave(friedman):
    X, y = friedman
    recorder = Recorder()
    model = regressor(solver="adam", max_iter=5, tol=0, n_members=1)
    model.set_callbacks(recorder).fit(X, y)
    for n_iter in (1, 3, 5):
        shorter = clone(model).set_params(max_iter=n_iter).set_callbacks().fit(X, y)
        assert recorder.scores[n_iter - 1] == shorter.score(X, y)
    assert recorder.scores[-1] == model.score(X, y)


def test_callbacks_change_no_bit_and_see_the_data_as_given(friedman):
    X, y = friedman
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    plain = regressor(early_stopping=True).fit(X, y, weight)
    recorder = Recorder()
    told = regressor(early_stopping=True).set_callbacks(recorder).fit(X, y, weight)
    assert np.array_equal(plain.controls_, told.controls_)
    assert recorder.scores[-1] == told.score(X, y, weight)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_callback_stops_a_member_and_the_fit(friedman, solver):
    recorder = Recorder(stop_at=[("iteration", 1), ("member", 1)])
    model = regressor(solver=solver, n_members=3, max_iter=50, tol=0)
    model.set_callbacks(recorder).fit(*friedman)
    assert [len(curve) for curve in model.loss_curve_] == [2, 2]
    assert np.isfinite(model.predict(friedman[0])).all()


def test_a_multiclass_monitor_scores_each_iteration():
    X, y = make_classification(200, n_classes=3, n_informative=4, random_state=0)
    names = np.array(["a", "b", "c"])[y]
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = ControlledODEClassifier(n_fields=8, n_members=2, random_state=0)
    model.set_callbacks(monitor).fit(X, names)
    log = monitor.get_logs().data
    last = next(row for row in log if row["task_id_path"] == (0,))
    assert last["accuracy"] == model.score(X, names)
    members = [row for row in log if row["task_name"] == "member"]
    assert [row["task_id"] for row in members] == [0, 1]
    # the second member joins the first: what the fit would leave after it is nearly the whole
    assert members[1]["neg_log_loss"] == pytest.approx(last["neg_log_loss"], rel=0.3)
    iterations = [row for row in log if row["task_name"] == "iteration"]
    assert len(iterations) == sum(map(len, model.loss_curve_))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_callbacks_in_a_grid_search_over_a_pipeline(friedman, capsys, n_jobs):
    X, y = friedman
    monitor = ScoringMonitor(scoring="r2")
    model = regressor(n_members=1).set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {"controlledoderegressor__n_fields": [4, 8]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    # 2 candidates in 2 folds, and the refit
    log = monitor.get_logs().data
    assert sum(row["task_name"] == "member" for row in log) == 5
    assert all(np.isfinite(row["r2"]) for row in log)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown
    assert "ControlledODERegressor - fit" in shown
    assert "ControlledODERegressor - member" in shown


def test_an_error_in_a_callback_comes_back_as_it_was(friedman):
    class Broken(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise ZeroDivisionError("mine")

    model = regressor().set_callbacks(broken := Broken())
    with pytest.raises(ZeroDivisionError, match="mine"):
        model.fit(*friedman)
    assert broken.closed == 1
    assert not hasattr(model, "controls_")
    assert not [name for name in vars(model) if name.startswith("_callback")]


@pytest.mark.parametrize("task", [("iteration", 2), ("member", 0)])
def test_ctrl_c_in_a_callback_leaves_what_was_reached(friedman, task):
    class Impatient(Recorder):
        def on_fit_task_end(self, estimator, context):
            if (context.task_name, context.task_id) == task:
                raise KeyboardInterrupt

    whole = regressor(n_members=2).fit(*friedman)
    model = clone(whole).set_callbacks(Impatient())
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(*friedman)
    assert len(model.loss_curve_) == (3 if task[0] == "iteration" else len(whole.loss_curve_[0]))
    assert model.loss_curve_ == whole.loss_curve_[0][: len(model.loss_curve_)]
    assert np.isfinite(model.predict(friedman[0])).all()
    if task[0] == "member":
        assert np.array_equal(model.controls_, whole.controls_[0])


def test_transformers_tell_too(friedman):
    X, y = friedman
    for target in (None, y):
        monitor = ScoringMonitor(scoring=width)
        model = ControlledODETransformer(n_fields=4, n_states=12, random_state=0)
        model.set_callbacks(monitor).fit(X, target)
        log = monitor.get_logs().data
        assert [row["task_name"] for row in log[:2]] == ["fit", "member"][: len(log)]
        assert all(row["width"] == 12 for row in log if "width" in row)


def test_a_model_with_a_monitor_travels(friedman):
    X, y = friedman
    model = regressor().set_callbacks(ScoringMonitor(scoring="r2")).fit(X, y)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_without_callbacks_in_scikit_learn_all_else_works():
    """A scikit-learn without the module stands for the versions before 1.9."""
    code = """
        import sys
        import sklearn.callback, sklearn.ensemble, sklearn.metrics, sklearn.pipeline
        callback = sys.modules["sklearn.callback"]
        sys.modules["sklearn.callback"] = None  # from here on it cannot be imported
        from skcode import ControlledODERegressor
        sys.modules["sklearn.callback"] = callback  # scikit-learn itself needs it
        from sklearn.datasets import make_friedman1
        X, y = make_friedman1(50, random_state=0)
        model = ControlledODERegressor(n_fields=4, n_members=1, random_state=0).fit(X, y)
        print(hasattr(model, "set_callbacks"), model.score(X, y) > 0)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert run.stdout == "False True\n", run.stderr
