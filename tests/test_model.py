"""The fitted model: its public face, a head in place of a readout, and tools that read weights."""

import gc
import pickle
import weakref
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
from sklearn.datasets import make_friedman1
from sklearn.feature_selection import RFE, SelectFromModel

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.export import to_onnx
from skcode.model import Ensemble, FittedMember, RegressionTarget
from skcode.utils._blocks import OrderedMap

SMALL = {"n_fields": 6, "max_iter": 3, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(150, n_features=5, noise=1.0, random_state=0)


@pytest.fixture(scope="module")
def model(friedman):
    return ControlledODERegressor(**SMALL, n_members=2).fit(*friedman)


def test_an_ensemble_predicts_what_the_estimator_does(friedman, model):
    X, _ = friedman
    ensemble = model.ensemble_
    mean, deviation = ensemble.moments(X)
    expected = model.predict(X, return_std=True)
    np.testing.assert_array_equal(ensemble.target.decode(mean), expected[0])
    np.testing.assert_array_equal(ensemble.target.spread(deviation), expected[1])
    for k, member in enumerate(ensemble.members):
        np.testing.assert_array_equal(member.trajectory(X), model.trajectory(X, member=k))
        np.testing.assert_array_equal(member.controls, model.controls_[k])
        with OrderedMap(1) as mapper:
            np.testing.assert_array_equal(member.states(X, mapper), member.trajectory(X)[-1])
            np.testing.assert_array_equal(member.scores(X, mapper), ensemble.scores(X)[k])


def test_a_fitted_model_is_immutable(model):
    member = model.ensemble_.members[0]
    for part, name in ((model.ensemble_, "members"), (member, "theta"), (member.model, "n_block")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, None)


def test_a_transformer_without_targets_has_none(friedman):
    features = ControlledODETransformer(**SMALL).fit(friedman[0])
    assert features.ensemble_.target is None
    assert len(features.ensemble_) == 1


# -- a head in place of the readout ----------------------------------------------------------------


@dataclass
class Nearest:
    """A head with a state of its own: the target of the nearest final state of the training."""

    states: np.ndarray
    values: np.ndarray

    n_outputs = 1
    n_parameters = 0

    def scores(self, x1, x0):
        squares = np.sum((x1[:, None] - self.states) ** 2, axis=2)
        return self.values[squares.argmin(axis=1)]

    @classmethod
    def batched(cls, heads):
        return None

    def variance(self, x1, x0):
        squares = np.sum((x1[:, None] - self.states) ** 2, axis=2)
        return squares.min(axis=1)[:, None]

    def attributes(self):
        return {"landmarks_": self.states}


@pytest.fixture(scope="module")
def headed(friedman, model):
    """The ensemble of a model, with heads that are fitted to the final states."""
    X, y = friedman
    members = []
    for member in model.ensemble_.members:
        states = member.trajectory(X)[-1]
        head = Nearest(states, model.ensemble_.target.encode(y))
        members.append(FittedMember(member.model, member.theta, head=head))
    return Ensemble(tuple(members), model.ensemble_.target)


@pytest.mark.parametrize("n_rows", [5, 150])
def test_every_prediction_goes_through_the_head(friedman, headed, n_rows):
    X, y = friedman
    X, y = X[:n_rows], y[:n_rows]
    scores = headed.scores(X)
    np.testing.assert_allclose(headed.target.decode(scores.mean(axis=0)), y)
    mean, deviation = headed.moments(X)
    np.testing.assert_array_equal(mean, scores.mean(axis=0))
    np.testing.assert_allclose(deviation, 0, atol=1e-5)
    away = headed.moments(X + 0.1)[1]
    assert np.all(away > 0)
    assert {"controls_", "landmarks_", "vector_fields_"} == set(headed.members[0].attributes())


def test_a_head_works_in_blocks_and_travels(friedman, headed):
    X, _ = friedman
    small = [replace(member, model=member.model.with_block(7)) for member in headed.members]
    for n_jobs in (1, 2):
        blocks = Ensemble(tuple(small), headed.target).scores(X, n_jobs)
        np.testing.assert_array_equal(blocks, headed.scores(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(headed)).scores(X), headed.scores(X))


def test_what_does_not_know_a_head_says_so(friedman, model, headed):
    twin = pickle.loads(pickle.dumps(model))
    twin.ensemble_ = headed
    with pytest.raises(TypeError, match="Nearest has no ONNX translation"):
        to_onnx(twin)


def test_no_posterior_no_variance(friedman, model):
    bare = FittedMember(*(getattr(model.ensemble_.members[0], name) for name in ("model", "theta")))
    assert not bare.has_variance
    with pytest.raises(ValueError, match="knows of no variance"), OrderedMap(1) as mapper:
        bare.variance(friedman[0], mapper)


def test_targets_are_part_of_the_model(model):
    assert isinstance(model.ensemble_.target, RegressionTarget)


# -- tools that look for weights of columns --------------------------------------------------------


def places(model):
    return np.arange(model.n_features_in_)


@pytest.mark.parametrize("kind", [ControlledODERegressor, ControlledODEClassifier])
def test_weights_of_states_are_not_taken_for_weights_of_columns(friedman, kind):
    X, y = friedman
    y = y > y.mean() if kind is ControlledODEClassifier else y
    model = kind(**SMALL, n_members=1, readout="linear")
    # n_states = n_features: as many weights of states as there are columns
    model.set_params(vector_fields="neural", n_states=5, readout="linear")
    assert not hasattr(model.fit(X, y), "coef_")
    assert model.readout_coef_.shape == (1, 5)
    # a tool that finds no `coef_` takes what is of the columns
    largest = np.sort(np.argsort(model.feature_importances_)[-2:])
    selector = SelectFromModel(model, max_features=2, threshold=-np.inf).fit(X, y)
    np.testing.assert_array_equal(selector.get_support(indices=True), largest)
    # a getter of the user's is the user's to judge
    by_place = RFE(model, n_features_to_select=2, importance_getter=places)
    assert by_place.fit(X, y).support_.tolist() == [False] * 3 + [True] * 2


@pytest.mark.filterwarnings("ignore")
def test_shap_does_not_take_it_for_a_linear_model(friedman):
    shap = pytest.importorskip("shap")
    X, y = friedman
    model = ControlledODERegressor(**SMALL, n_members=1).fit(X, y)
    # it knows of no way into the model other than calling `predict`
    with pytest.raises(TypeError, match="not callable"):
        shap.Explainer(model, X[:20])
    explanation = shap.Explainer(model.predict, X[:20])(X[:3])
    total = explanation.values.sum(axis=1) + explanation.base_values
    np.testing.assert_allclose(total, model.predict(X[:3]), rtol=1e-6)


def test_buffers_go_with_their_model(friedman):
    X, y = friedman
    model = ControlledODERegressor(**SMALL, n_members=1).fit(X, y)
    model.predict(X)
    alone = weakref.ref(model.ensemble_.members[0].model)
    gc.disable()
    try:
        del model
        assert alone() is None
    finally:
        gc.enable()
