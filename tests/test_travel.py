"""Fitted models in files, in other processes and in other runtimes give the same answers."""

import copy
import io
import pickle
import re
import sys
from dataclasses import replace

import joblib
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
import skops.io
from helpers import EVERY_FAMILY
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skcode
from skcode import (
    ControlledODEClassifier,
    ControlledODERegressor,
    ControlledODETransformer,
    fields,
    gaussian_process,
    images,
    losses,
    readouts,
    solvers,
)
from skcode.estimators._serialization import TAGS, pack, unpack
from skcode.export import Graph, field_nodes, register_skl2onnx, to_onnx
from skcode.fields import (
    ConvolutionalFields,
    DiagonalFields,
    DrawnDiagonal,
    FilterFields,
    FunctionFields,
    LinearFields,
    LocalFields,
    MixingFields,
    NeuralFields,
)
from skcode.flow import TABLEAUS
from skcode.gaussian_process import GaussianProcessReadout, Kernel, Mean
from skcode.images import PatchFilters, ShiftedImagesClassifier
from skcode.solvers import LBFGS, SGD, Adam, GaussNewton

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"n_fields": 4, "max_iter": 3, "random_state": 0}
#: fields of these families hold functions of the user
WITH_FUNCTIONS = {"functions", "sum with functions"}
#: names of private modules of skcode, as they stand in a file
PRIVATE = re.compile(rb"skcode\.\w+(\.\w+)*\._\w+")
WITHOUT_FUNCTIONS = sorted(EVERY_FAMILY.keys() - WITH_FUNCTIONS)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (80, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def regressor(**options):
    return ControlledODERegressor(**{**SMALL, "n_members": 2, **options})


def classifier(**options):
    return ControlledODEClassifier(**{**SMALL, "n_members": 2, **options})


def transformer(**options):
    return ControlledODETransformer(**{**SMALL, **options})


def indicators(y):
    return np.column_stack([y > 0, y > 0.5, y < 0.2]).astype(int)


#: estimators of each kind, fitted to each kind of target
FITTED = {
    "regressor": lambda X, y: regressor().fit(X, y),
    "one column": lambda X, y: regressor().fit(X, y[:, None]),
    "outputs": lambda X, y: regressor().fit(X, np.column_stack([y, 3 - y])),
    "float32": lambda X, y: regressor().fit(X.astype(np.float32), y),
    "no scaling": lambda X, y: regressor(scaling=None).fit(X, y),
    "standard scaling": lambda X, y: regressor(scaling="standard").fit(X, y),
    "displacement": lambda X, y: regressor(readout="displacement").fit(X, y),
    "early stopping": lambda X, y: regressor(early_stopping=True).fit(X, y),
    "stream": lambda X, y: regressor(solver=Adam(batch_size=20)).partial_fit(X, y),
    "two classes": lambda X, y: classifier().fit(X, y > 0),
    "three classes": lambda X, y: classifier().fit(X, np.digitize(y, [-0.3, 0.3]) - 7),
    "strings": lambda X, y: classifier().fit(X, np.array(["no", "yes"])[(y > 0).astype(int)]),
    "objects": lambda X, y: classifier().fit(X, np.where(y > 0, "ja", "nein").astype(object)),
    "floats": lambda X, y: classifier().fit(X, np.sign(np.round(2 * y))),
    "labels": lambda X, y: classifier().fit(X, indicators(y)),
    "one member": lambda X, y: classifier(n_members=1, alpha=1e-2).fit(X, y > 0),
    "many states": lambda X, y: classifier(vector_fields="neural", n_states=3).fit(X, y > 0),
    "transformer": lambda X, y: transformer().fit(X, y),
    "random features": lambda X, y: transformer().fit(X),
    "stream that begins": lambda X, y: regressor(solver="adam").partial_fit(X[:20], y[:20]),
    "gamma": lambda X, y: regressor(loss="gamma").fit(X, np.exp(y)),
    "quantile": lambda X, y: regressor(loss="quantile", quantile=0.8).fit(X, y),
    "solver object": lambda X, y: regressor(solver=GaussNewton(patience=1)).fit(X, y),
}
every_kind = pytest.mark.parametrize("kind", FITTED)


def answers(model, X):
    names = ("predict", "predict_proba", "decision_function", "transform")
    return {name: getattr(model, name)(X) for name in names if hasattr(model, name)}


def assert_same(twin, model, X):
    """The same bits, from the same parts."""
    expected = answers(model, X)
    assert expected
    for name, value in answers(twin, X).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
        assert value.dtype == expected[name].dtype
    assert repr(twin) == repr(model)
    assert twin.n_parameters_ == model.n_parameters_
    # a fitted attribute is the part that predicts, not a copy of it
    members = twin.ensemble_.members
    fields = twin.vector_fields_ if len(members) > 1 else [twin.vector_fields_]
    for member, drawn in zip(members, fields, strict=True):
        assert member.model.fields is drawn


# -- copies and files ------------------------------------------------------------------------------


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_skops(model):
    return skops.io.loads(skops.io.dumps(model), trusted=[name_of(type(model))])


def name_of(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


@every_kind
@pytest.mark.parametrize(
    "travel",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
        through_joblib,
        through_skops,
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle", "pickle 2", "joblib", "skops", "copy", "deepcopy"],
)
def test_the_same_answers(data, kind, travel):
    X, y = data
    model = FITTED[kind](X, y)
    assert_same(travel(model), model, X.astype(model.ensemble_.dtype))


@pytest.mark.parametrize("name", WITHOUT_FUNCTIONS)
def test_every_family_through_skops(data, name):
    X, y = data
    model = regressor(vector_fields=EVERY_FAMILY[name], n_states=3).fit(X, y)
    assert_same(through_skops(model), model, X)


@every_kind
def test_skops_has_one_class_to_trust(data, kind):
    model = FITTED[kind](*data)
    assert skops.io.get_untrusted_types(data=skops.io.dumps(model)) == [name_of(type(model))]
    # and nothing at all within it
    state = skops.io.dumps(model.__getstate__())
    assert skops.io.get_untrusted_types(data=state) == []
    twin = type(model)()
    twin.__setstate__(skops.io.loads(state))
    assert_same(twin, model, data[0].astype(model.ensemble_.dtype))


def test_an_unfitted_model_travels_with_its_parameters():
    model = regressor(vector_fields=DiagonalFields() | NeuralFields(scale=2.0), solver=Adam())
    for twin in (pickle.loads(pickle.dumps(model)), through_skops(model), clone(model)):
        assert repr(twin) == repr(model)
        assert twin.get_params()["vector_fields__second__scale"] == 2.0


def test_functions_of_the_user_travel_by_name(data):
    X, y = data
    model = regressor(vector_fields=EVERY_FAMILY["functions"], n_states=3).fit(X, y)
    assert_same(pickle.loads(pickle.dumps(model)), model, X)
    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    assert set(untrusted) == {name_of(type(model)), "helpers.pendulum", "helpers.drift"}


def test_a_deep_copy_goes_its_own_way(data):
    X, y = data
    model = regressor(solver=Adam(batch_size=20)).partial_fit(X, y)
    before, twin = model.predict(X), copy.deepcopy(model)
    twin.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)
    assert not np.array_equal(twin.predict(X), before)
    np.testing.assert_array_equal(model.partial_fit(X, y).predict(X), twin.predict(X))


@pytest.mark.parametrize("use", ["predict", "fit"])
def test_buffers_stay_at_home(data, use):
    X, y = data
    many = np.tile(X, (50, 1))
    model = regressor(n_intervals=1, readout="linear").fit(X, y)
    size = len(pickle.dumps(model))
    if use == "predict":
        model.predict(many)
        assert any(member.model._buffers._idle for member in model.ensemble_.members)
        assert len(pickle.dumps(model)) == size
    else:
        noisy = many + np.random.default_rng(0).normal(size=many.shape)
        large = regressor(n_intervals=1, readout="linear").fit(noisy, np.tile(y, 50))
        assert len(pickle.dumps(large)) < size + 2000


# -- tags ------------------------------------------------------------------------------------------


#: what is written in files: a class may get another name, and its tag may not
NAMES = {
    "skcode/activation/gelu": "GELU",
    "skcode/activation/identity": "Identity",
    "skcode/activation/polynomial": "PolynomialActivation",
    "skcode/activation/relu": "ReLU",
    "skcode/activation/sin": "Sin",
    "skcode/activation/softplus": "Softplus",
    "skcode/activation/tanh": "Tanh",
    "skcode/arrowhead-factor": "ArrowheadFactor",
    "skcode/arrowhead-order": "ArrowheadOrder",
    "skcode/columns/category": "CategoryColumn",
    "skcode/columns/date": "DateColumn",
    "skcode/columns/effect": "ValueEffect",
    "skcode/columns/encoder": "ColumnEncoder",
    "skcode/columns/number": "NumberColumn",
    "skcode/columns/sparse": "SparseProjection",
    "skcode/drawn/affine": "DrawnAffine",
    "skcode/drawn/convolutional": "DrawnConvolutional",
    "skcode/drawn/diagonal": "DrawnDiagonal",
    "skcode/drawn/filters": "DrawnFilter",
    "skcode/drawn/functions": "DrawnFunction",
    "skcode/drawn/image-layout": "ImageLayout",
    "skcode/drawn/mixing": "DrawnMixing",
    "skcode/drawn/monomials": "Monomials",
    "skcode/drawn/neural": "DrawnNeural",
    "skcode/drawn/polynomial": "DrawnPolynomial",
    "skcode/drawn/stack": "DrawnStack",
    "skcode/drawn/sum": "DrawnSum",
    "skcode/ensemble": "Ensemble",
    "skcode/fields/affine": "AffineFields",
    "skcode/fields/convolutional": "ConvolutionalFields",
    "skcode/fields/diagonal": "DiagonalFields",
    "skcode/fields/filters": "FilterFields",
    "skcode/fields/functions": "FunctionFields",
    "skcode/fields/linear": "LinearFields",
    "skcode/fields/local": "LocalFields",
    "skcode/fields/mixing": "MixingFields",
    "skcode/fields/neural": "NeuralFields",
    "skcode/fields/polynomial": "PolynomialFields",
    "skcode/fields/stack": "StackFields",
    "skcode/fields/sum": "SumFields",
    "skcode/fields/two": "TwoFields",
    "skcode/fields/universal": "UniversalFields",
    "skcode/fitted-member": "FittedMember",
    "skcode/gaussian-process/affine-link": "AffineLink",
    "skcode/gaussian-process/fixed-point": "FixedPoint",
    "skcode/gaussian-process/head": "GaussianProcessHead",
    "skcode/gaussian-process/kernel": "Kernel",
    "skcode/gaussian-process/leaves": "Leaves",
    "skcode/gaussian-process/log-odds-link": "LogOddsLink",
    "skcode/gaussian-process/mean": "Mean",
    "skcode/gaussian-process/noise": "NoiseModel",
    "skcode/input-map": "InputMap",
    "skcode/loss/gamma": "GammaDeviance",
    "skcode/loss/huber": "Huber",
    "skcode/loss/pinball": "SmoothPinball",
    "skcode/loss/poisson": "PoissonDeviance",
    "skcode/loss/squared": "SquaredError",
    "skcode/model": "Model",
    "skcode/posterior": "Posterior",
    "skcode/ramps": "Ramps",
    "skcode/readout/displacement": "DisplacementReadout",
    "skcode/readout/gaussian-process": "GaussianProcessReadout",
    "skcode/readout/linear": "LinearReadout",
    "skcode/solver/adam": "Adam",
    "skcode/solver/gauss-newton": "GaussNewton",
    "skcode/solver/lbfgs": "LBFGS",
    "skcode/solver/moments": "Moments",
    "skcode/solver/sgd": "SGD",
    "skcode/solver/stream-state": "StreamState",
    "skcode/solver/velocity": "Velocity",
    "skcode/squash/asinh": "Asinh",
    "skcode/squash/bound": "Bound",
    "skcode/tableau": "Tableau",
    "skcode/target/classification": "ClassificationTarget",
    "skcode/target/moments": "TargetMoments",
    "skcode/target/multilabel": "MultilabelTarget",
    "skcode/target/regression": "RegressionTarget",
    "skcode/training/late-columns": "LateColumns",
    "skcode/training/member": "Member",
    "skcode/training/monitor": "TrainingMonitor",
    "skcode/training/stream": "Stream",
}


def test_tags_in_files_stay():
    """Who adds a class adds its tag here; no other line of the table ever changes its left side."""
    assert {tag: kind.__name__ for tag, kind in TAGS.items()} == NAMES


def test_every_tag_is_of_one_class():
    assert len(set(TAGS.values())) == len(TAGS)
    for tag, kind in TAGS.items():
        assert tag.startswith("skcode/")
        assert kind.__module__.split(".")[0] == "skcode"
        packed = pack(object.__new__(kind), {})
        assert packed["skcode.tag"] == tag
        assert type(unpack(packed, {})) is kind


def objects_within(value):
    """All objects that are left in a packed state for others to store."""
    if isinstance(value, dict):
        return {kind for item in value.values() for kind in objects_within(item)}
    if isinstance(value, list | tuple):
        return {kind for item in value for kind in objects_within(item)}
    return {type(value)}


def assert_nothing_of_ours_is_left(model):
    left = objects_within(model.__getstate__())
    assert [kind for kind in left if kind.__module__.split(".")[0] == "skcode"] == []


@every_kind
def test_a_state_holds_no_class_of_ours_of_any_kind(data, kind):
    assert_nothing_of_ours_is_left(FITTED[kind](*data))


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_a_state_holds_no_class_of_ours_of_any_family(data, name):
    X, y = data
    model = regressor(vector_fields=EVERY_FAMILY[name], n_states=3, max_iter=1, n_members=1)
    assert_nothing_of_ours_is_left(model.fit(X, y))


@pytest.mark.parametrize("solver", [GaussNewton(), LBFGS(), SGD(), Adam()], ids=repr)
def test_a_state_holds_no_class_of_ours_of_any_solver(data, solver):
    model = regressor(solver=solver, n_members=1).fit(*data)
    if hasattr(model, "partial_fit"):
        model.partial_fit(*data)
    assert_nothing_of_ours_is_left(model)


@pytest.mark.parametrize("kind", ["regressor", "three classes", "labels", "stream", "transformer"])
def test_a_file_outlives_the_places_of_classes(data, kind, monkeypatch):
    """Every module of the parts moves between the writing of a file and its reading."""
    X, y = data
    model = FITTED[kind](X, y)
    expected, file = answers(model, X), pickle.dumps(model)
    assert PRIVATE.search(file) is None
    moved = {name: module for name, module in sys.modules.items() if "skcode." in f"{name}."}
    for name in moved:
        if name.startswith("skcode.") and "._" in name:
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, name, None)
    for part in TAGS.values():
        monkeypatch.setattr(part, "__module__", "skcode.of.tomorrow")
    for name, value in answers(pickle.loads(file), X).items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_search_over_specifications_names_public_places(data):
    """Specifications in a grid are no part of a fitted estimator, and pickled as they are."""
    grid = {
        "vector_fields": [NeuralFields(activation="tanh"), LinearFields() | DiagonalFields()],
        "solver": [Adam(), LBFGS()],
        "readout": ["linear"],
    }
    X, y = data
    search = GridSearchCV(regressor(n_members=1, max_iter=1), grid, cv=2).fit(X, y)
    file = pickle.dumps(search)
    assert PRIVATE.search(file) is None
    np.testing.assert_array_equal(pickle.loads(file).predict(X), search.predict(X))


@pytest.mark.parametrize("package", [fields, gaussian_process, images, losses, readouts, solvers])
def test_public_classes_are_found_in_their_packages(package):
    found = [thing for name in package.__all__ if isinstance(thing := getattr(package, name), type)]
    assert found
    for kind in found:
        assert kind.__module__ == package.__name__
        assert getattr(package, kind.__qualname__) is kind


@pytest.mark.parametrize("make", [regressor, classifier, transformer])
def test_files_name_the_public_place_of_an_estimator(make):
    kind = type(make())
    assert name_of(kind) == f"skcode.{kind.__name__}"
    assert getattr(skcode, kind.__name__) is kind


# -- versions --------------------------------------------------------------------------------------


def marked(model, version):
    """A twin as if another version had written it."""
    twin = type(model).__new__(type(model))
    return twin, {**model.__getstate__(), "_skcode_version": version}


@pytest.mark.parametrize("version", ["0.0.1", "99.0"])
def test_another_version_is_named(data, version):
    X, y = data
    model = regressor().fit(X, y)
    twin, state = marked(model, version)
    with pytest.warns(UserWarning, match=f"saved by skcode {version} and is read by skcode"):
        twin.__setstate__(state)
    assert_same(twin, model, X)


@pytest.mark.filterwarnings("ignore:This Controlled.* was saved by skcode")
@pytest.mark.parametrize(
    "tag",
    [
        "skcode/fields/of-tomorrow",
        "skcode.fields.NeuralFields",
        "os.system",
        "builtins.eval",
        "",
    ],
)
def test_a_tag_that_is_not_ours_is_an_error_with_both_versions(data, tag):
    twin, state = marked(regressor().fit(*data), "0.0.1")
    state["ensemble_"] = {"skcode.tag": tag, "skcode.state": {}}
    with pytest.raises(ValueError, match=r"saved by skcode 0\.0\.1 and cannot be read by skcode"):
        twin.__setstate__(state)


def test_a_state_without_mark(data):
    model = regressor().fit(*data)
    twin, state = marked(model, "")
    del state["_skcode_version"]
    with pytest.warns(UserWarning, match="saved by skcode a version without a mark"):
        twin.__setstate__(state)


# -- ONNX ------------------------------------------------------------------------------------------


def onnx_answers(model, X):
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    assert [i.name for i in session.get_inputs()] == ["X"]
    return {
        output.name: value
        for output, value in zip(session.get_outputs(), session.run(None, {"X": X}), strict=True)
    }


def assert_onnx_agrees(model, X, tolerance=None):
    """The same up to rounding, which at rows of the training is a root of it in single precision.

    There Euclidean distances are zero, and what is left of them after |x|^2 - 2 x z + |z|^2 differs
    from one library to the other.
    """
    tolerance = tolerance or (1e-5 if X.dtype == np.float64 else 1e-3)
    close = {"atol": tolerance, "rtol": tolerance}
    said = onnx_answers(model, X)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(said["probabilities"], model.predict_proba(X), **close)
        assert said["probabilities"].dtype == X.dtype
        np.testing.assert_array_equal(said["label"], model.predict(X))
    else:
        expected = getattr(model, "predict", getattr(model, "transform", None))(X)
        np.testing.assert_allclose(said["variable"], expected, **close)
        assert said["variable"].dtype == expected.dtype


@every_kind
def test_onnx_says_the_same(data, kind):
    X, y = data
    model = FITTED[kind](X, y)
    # outliers, which the scaling bounds, as well
    rows = np.concatenate([X, 1e9 * X[:5]]) if model.scaling == "robust" else X
    assert_onnx_agrees(model, rows.astype(model.ensemble_.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", WITHOUT_FUNCTIONS)
def test_onnx_for_every_family(data, name, dtype):
    X, y = data
    X = X.astype(dtype)
    family = EVERY_FAMILY[name]
    assert_onnx_agrees(regressor(vector_fields=family, n_states=3).fit(X, y), X)


IMAGES = {
    "filters": FilterFields((8, 8), kernel_size=3, pooling=2),
    "filters of pixels": FilterFields((8, 8), kernel_size=3, pooling=2, skip_pixels=False),
    "convolutions": ConvolutionalFields((8, 8), cell=2),
    "convolutions beyond the edge": ConvolutionalFields((8, 8), cell=3, activation="gelu"),
    "local": LocalFields((8, 8), patch_size=(2, 3)),
    "mixing": MixingFields((4, 4, 4), n_channels=3, n_filters=2, pooling=2),
    "mixing, tanh": MixingFields((8, 8), 2, 1, 5, "tanh", pooling=None),
    "stack": LocalFields((8, 8), patch_size=(2, 3))
    | FilterFields((8, 8), kernel_size=3, pooling=2),
}


@pytest.mark.parametrize("integrator", ["euler", "heun"])
@pytest.mark.parametrize("name", IMAGES)
def test_onnx_for_fields_of_images(name, integrator):
    X, y = load_digits(return_X_y=True)
    X, y = X[:200].astype(np.float32), y[:200]
    family = IMAGES[name]
    # multiples of the windows and of the cells
    others = {
        "convolutions beyond the edge": 2 * 9,
        "convolutions": 2 * 16,
        "mixing": 3 * 16,
        "mixing, tanh": 2 * 64,
    }
    n_states = 64 + others.get(name, 3 * 4)
    options = {"vector_fields": family, "n_states": n_states, "integrator": integrator}
    model = classifier(**options, scaling="common", n_intervals=2, solver="lbfgs", max_iter=5)
    assert_onnx_agrees(model.fit(X, y), X)


@pytest.mark.parametrize("exponent", [1.0, (0.5, 1.0)])
def test_onnx_of_filters_of_patches(exponent):
    X, y = load_digits(return_X_y=True)
    X, y = X[:150].astype(np.float32), y[:150]
    family = MixingFields((3, 3, 4), n_channels=2, n_filters=1, pooling=2)
    options = {"vector_fields": family, "n_states": family.n_states(), "scaling": "common"}
    filters = PatchFilters(
        (8, 8), n_filters=4, kernel_size=3, pooling=3, exponent=exponent, random_state=0
    )
    last = classifier(**options, n_intervals=2, solver="lbfgs", max_iter=5)
    pipeline = make_pipeline(filters, last).fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(pipeline).SerializeToString())
    answers = session.run(None, {"X": X})
    # sums of other orders may round a byte the other way
    np.testing.assert_allclose(answers[1], pipeline.predict_proba(X), atol=0.02)


@pytest.mark.parametrize("readout", ["linear", "displacement"])
@pytest.mark.parametrize("integrator", TABLEAUS)
def test_onnx_for_every_scheme_and_readout(data, integrator, readout):
    X, y = data
    options = {"integrator": integrator, "readout": readout, "n_intervals": 3}
    assert_onnx_agrees(regressor(**options).fit(X, np.column_stack([y, -y])), X)
    assert_onnx_agrees(classifier(**options).fit(X, y > 0), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gaps", ["in the fit", "in rows to predict", "everywhere"])
def test_onnx_of_numbers_with_gaps(data, dtype, gaps):
    X, y = data
    X = X.astype(dtype)
    rows = X.copy()
    rows[::3, 1] = np.nan
    if gaps == "everywhere":
        rows[:, 0] = np.nan
    seen = X if gaps == "in rows to predict" else rows
    assert_onnx_agrees(regressor().fit(seen, y), rows)
    assert_onnx_agrees(classifier().fit(np.full_like(X, np.nan), y > 0), rows)


def test_onnx_of_heavy_tailed_numbers_with_gaps(data):
    X, y = data
    rows = X.copy()
    rows[:, 1] = np.where(X[:, 1] < 0, 0, np.exp(6 * X[:, 1]))
    rows[::9, 1] = np.nan
    model = regressor().fit(rows, y)
    assert "x1=0" in model.encoder_.get_feature_names_out()
    assert_onnx_agrees(model, rows)


# scikit-learn 1.6 tells of a change to come
@pytest.mark.filterwarnings("ignore:\\s*The format of the columns:FutureWarning")
def test_onnx_of_a_pipeline_that_encodes_categories(data):
    X, y = data
    frame = pd.DataFrame({"a": X[:, 0].astype(np.float32), "c": np.where(y > 0, "up", "down")})
    encode = make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough")
    pipeline = make_pipeline(encode, regressor()).fit(frame, y)
    register_skl2onnx()
    graph = skl2onnx.to_onnx(pipeline, frame[:1], target_opset=17)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    said = session.run(None, {name: frame[[name]].to_numpy() for name in frame})[0]
    np.testing.assert_allclose(said.ravel(), pipeline.predict(frame), rtol=1e-3, atol=1e-4)


def test_what_columns_onnx_does_not_hold(data):
    X, y = data
    for column in (np.where(y > 0, "up", "down"), pd.date_range("2020-01-01", periods=len(y))):
        model = regressor().fit(pd.DataFrame({"a": X[:, 0], "c": column}), y)
        with pytest.raises(TypeError, match="Column 'c' is no number"):
            to_onnx(model)
    wide = sparse.random(len(y), 200, 0.1, "csr", random_state=0)
    with pytest.raises(TypeError, match="TruncatedSVD"):
        to_onnx(regressor().fit(wide, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [regressor, classifier, transformer])
def test_onnx_of_a_pipeline(data, make, dtype):
    X, y = data
    X = (100 + 7 * X).astype(dtype)
    target = y > 0 if make is classifier else y
    assert_onnx_agrees(make_pipeline(StandardScaler(), make()).fit(X, target), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", ["all", "l1", "l2", "gauss", "linear"])
@pytest.mark.parametrize("leaves", [False, True])
def test_onnx_of_a_gaussian_process(dtype, kernel, leaves):
    """Each kernel, on all rows and in leaves; new rows, fewer and more than a block."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1000, 3)).astype(dtype)
    Y = np.column_stack([1000 + X[:, 0] * X[:, 1], np.abs(X[:, 2])])
    process = GaussianProcessReadout(n_exact=100, n_leaf=100, n_landmarks=50) if leaves else "auto"
    model = regressor(readout=process).fit(X[:300], Y[:300])
    one, two, three = (0.3 * (kernel in ("all", part)) for part in ("l1", "l2", "gauss"))
    changed = Kernel(one, 20.0, two, 10.0, 2.0, three, 8.0)
    members = tuple(
        replace(member, head=replace(member.head, kernel=changed))
        for member in model.ensemble_.members
    )
    model.ensemble_ = replace(model.ensemble_, members=members)
    for rows in (X[300:301], X[300:]):
        said = onnx_answers(model, rows)["variable"]
        expected = model.predict(rows)
        size = np.abs(expected).max(axis=0)
        np.testing.assert_allclose(said / size, expected / size, atol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "two classes", "three classes", "labels"])
def test_onnx_of_a_gaussian_process_in_single_precision(data, kind):
    X, y = (a.astype(np.float32) for a in data)
    new = np.random.default_rng(1).uniform(-1, 1, (200, 3)).astype(np.float32)
    assert_onnx_agrees(FITTED[kind](X, y), new, tolerance=1e-4)


def test_a_prediction_in_single_precision_keeps_its_digits():
    """The linear part of many points is large terms that all but cancel."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 3)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(2000)
    model = regressor().fit(X[:1500], y[:1500])
    twin = copy.deepcopy(model)
    members = []
    for member in twin.ensemble_.members:
        head = member.head
        points, coefficients = (
            a.astype(np.float64) for a in (head.mean.points, head.mean.coefficients)
        )
        mean = Mean.of_points(head.kernel, points, coefficients)
        head = replace(head, center=head.center.astype(np.float64), mean=mean)
        members.append(replace(member, model=member.model.astype(np.float64), head=head))
    twin.ensemble_ = replace(twin.ensemble_, members=tuple(members))
    np.testing.assert_allclose(model.predict(X[1500:]), twin.predict(X[1500:]), atol=2e-4)


class OtherHead:
    """What a user may put in place of a readout."""


def test_onnx_asks_for_a_translation_of_a_head(data):
    model = regressor(n_members=1).fit(*data)
    member = replace(model.ensemble_.members[0], head=OtherHead())
    model.ensemble_ = replace(model.ensemble_, members=(member,))
    with pytest.raises(TypeError, match="OtherHead has no ONNX translation"):
        to_onnx(model)


def test_skl2onnx_converts_our_estimators_ahead_of_others(data):
    X, y = data
    register_skl2onnx()
    model = make_pipeline(transformer(), LinearRegression()).fit(X, y)
    graph = skl2onnx.to_onnx(model, X[:1])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    np.testing.assert_allclose(session.run(None, {"X": X})[0].ravel(), model.predict(X), atol=1e-5)


def test_onnx_of_unfitted_and_foreign_models(data):
    with pytest.raises(NotFittedError):
        to_onnx(regressor())
    with pytest.raises(TypeError, match="LinearRegression is no estimator of skcode"):
        to_onnx(LinearRegression().fit(*data))


def test_onnx_of_shifted_images_says_what_to_do():
    X = np.random.default_rng(0).standard_normal((40, 16))
    model = ShiftedImagesClassifier(LogisticRegression(), (4, 4)).fit(X, X[:, 0] > 0)
    with pytest.raises(TypeError, match="export its estimator_"):
        to_onnx(model)


@pytest.mark.parametrize("name", sorted(WITH_FUNCTIONS))
def test_onnx_cannot_hold_functions(data, name):
    X, y = data
    model = regressor(vector_fields=EVERY_FAMILY[name], n_states=3).fit(X, y)
    with pytest.raises(TypeError, match="FunctionFields"):
        to_onnx(model)


def halved(x):
    return x / 2


class HalfDrawn(DrawnDiagonal):
    """A user's fields, which no translation knows."""

    def bind(self, u):
        return super().bind(u) / 2


class HalfFields(DiagonalFields):
    def _draw(self, n_states, n_fields, rng, n_inputs, reference):
        return HalfDrawn(n_fields, n_states)


def test_onnx_for_fields_of_the_user(data):
    X, y = data
    model = regressor(vector_fields=HalfFields(), n_states=3).fit(X, y)

    @field_nodes.register
    def _(fields: HalfDrawn, graph: Graph, x: str, u: np.ndarray) -> str:
        return graph.add("Mul", x, graph.constant(u / 2))

    assert_onnx_agrees(model, X)
    assert_same(pickle.loads(pickle.dumps(model)), model, X)


class Unknown(type(LinearFields().draw(2, 1, 0)).__mro__[1]):
    """Drawn fields of no known kind."""

    n_states = n_fields = 1
    labels, tape_width = [], 0
    value = astype = bind = kernel = None


def test_onnx_asks_for_a_translation():
    with pytest.raises(TypeError, match="Unknown has no ONNX translation"):
        field_nodes(Unknown(), Graph(), "x", np.ones(1))


def test_a_field_that_is_a_function_says_so():
    drawn = FunctionFields([halved]).draw(2)
    with pytest.raises(TypeError, match="Python functions"):
        field_nodes(drawn, Graph(), "x", np.ones(1))
