"""Random parameters on random data: a sound model or an error that says why; never a hang.

Every case is drawn by hypothesis from the same seed, so that a run repeats. SKCODE_EXPLORE=1 draws
new cases at each run.
"""

import os
import pickle
import re
import signal
import warnings
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import DiagonalFields, LinearFields, NeuralFields, PolynomialFields

#: seconds after which a case, which takes a fraction of one, counts as hanging
PATIENCE = 120
#: what data may do to a model with valid parameters, as its errors say it
EXCUSES = re.compile(
    "explode|overflow|too large for|needs n_states >= 2"
    "|validation_fraction=.* is empty"
    "|at least 2 classes"
    "|readout='displacement' reads output j from state j"
)
FAMILIES = [
    None,
    "neural",
    "polynomial",
    "linear",
    "affine",
    "diagonal",
    "universal",
    NeuralFields("relu", rank=2),
    NeuralFields("gelu", rank=None),
    NeuralFields("softplus", sparse=0.7, centred=True),
    NeuralFields("sin", scale=10.0),
    NeuralFields("polynomial", degree=3),
    PolynomialFields(degree=3),
    LinearFields(scale=30.0),
    DiagonalFields() | PolynomialFields(degree=2),
    NeuralFields() + LinearFields(),
]
COLUMNS = ["normal", "constant", "duplicate", "binary", "outlier", "heavy tails", "counts"]
WEIGHTS = [None, "random", "some zero", "some huge", "all huge", "all tiny", "one row"]
LABELS = [int, float, str, bool]


@st.composite
def parameters(draw):
    """Valid parameters of all three estimators."""
    few = draw(st.booleans())
    return {
        "vector_fields": draw(st.sampled_from(FAMILIES)),
        "n_fields": draw(st.integers(1, 6)),
        "n_intervals": draw(st.integers(1, 3)),
        "integrator": draw(st.sampled_from(["euler", "midpoint", "heun", "rk4"])),
        "readout": draw(st.sampled_from(["linear", "linear", "displacement"])),
        "solver": draw(st.sampled_from(["auto", "gauss-newton", "lbfgs", "sgd", "adam"])),
        "alpha": draw(st.sampled_from([None, None, 0.0, 1e-3, 1e3])),
        "max_iter": draw(st.integers(1, 4)),
        "scaling": draw(st.sampled_from(["robust", "robust", "standard", None])),
        "train_controls": draw(st.sampled_from([True, True, True, False])),
        "early_stopping": draw(st.booleans()) and not few,
        "validation_fraction": draw(st.sampled_from([0.01, 0.1, 0.5, 0.9])),
        "n_jobs": draw(st.sampled_from([None, None, None, 2])),
        "random_state": draw(st.integers(0, 99)),
    }


@st.composite
def columns(draw, n, p):
    """Rows (n, p) of columns of any kind and size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    X = np.empty((n, p))
    # few columns get kinds of their own; the others repeat them
    kinds = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=min(p, 4)))
    sizes = draw(st.lists(st.integers(-12, 12), min_size=1, max_size=min(p, 4)))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, -1e6]))
    for j in range(p):
        z = rng.standard_normal(n)
        kind = kinds[j % len(kinds)]
        X[:, j] = {
            "normal": z + offset,
            "constant": np.full(n, offset),
            "duplicate": X[:, 0] if j else z,
            "binary": z > 0.5,
            "outlier": np.where(np.arange(n) == n // 2, 1e9, z),
            "heavy tails": np.sinh(10 * z),
            "counts": np.round(3 * z),
        }[kind]
        if kind != "duplicate":
            X[:, j] *= 10.0 ** sizes[j % len(sizes)]
    return X.astype(draw(st.sampled_from([np.float64, np.float64, np.float32])))


@st.composite
def inputs(draw):
    """Rows of any shape: one sample, one feature, fewer samples than features."""
    n = draw(st.one_of(st.integers(1, 8), st.integers(9, 60), st.integers(9, 60)))
    p = draw(st.one_of(st.integers(1, 4), st.integers(5, 30)))
    return draw(columns(n, p))


@st.composite
def weights(draw, n):
    """Weights of any size, not all zero."""
    kind = draw(st.sampled_from(WEIGHTS))
    if kind is None:
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    w = rng.uniform(0.1, 2, n)
    chosen = (rng.random(n) < 0.3) & (np.arange(n) > 0)
    w[chosen] *= {"some zero": 0.0, "some huge": 1e12}.get(kind, 1.0)
    if kind == "one row":
        w[1:] = 0
    return w * {"all huge": 1e12, "all tiny": 1e-12}.get(kind, 1.0)


@st.composite
def values(draw, n):
    """Regression targets (n,) or (n, K) of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = draw(st.sampled_from([(n,), (n, 1), (n, 3)]))
    y = draw(st.sampled_from([0.0, 1.0, 1.0, 1.0])) * rng.standard_normal(shape)
    y = (y + draw(st.sampled_from([0.0, 1.0, -1e3]))) * 10.0 ** draw(st.integers(-12, 12))
    return y.astype(draw(st.sampled_from([np.float64, np.float32])))


@st.composite
def labels(draw, n, column=False):
    """Class labels (n,) of any type, some of them rare, or indicators (n, K)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if draw(st.integers(0, 4)) == 0 and n > 1:
        return (rng.random((n, 4)) < [0.5, 0.02, 0.98, 1.0]).astype(int)
    n_classes = draw(st.sampled_from([2, 2, 3, 7]))
    codes = rng.integers(0, n_classes, n)
    if draw(st.booleans()):  # the last class has one sample
        codes = np.where(np.arange(n) == 0, n_classes - 1, codes % max(n_classes - 1, 1))
    kind = draw(st.sampled_from(LABELS))
    y = codes > 0 if kind is bool else (3 * codes - 4).astype(kind)
    return y[:, None] if column and draw(st.integers(0, 3)) == 0 else y


def any_targets(n):
    """What the transformer takes: none, values, labels, or a column of labels."""
    return st.one_of(st.none(), values(n), labels(n, column=True))


@st.composite
def many_classes(draw):
    """Rows and labels of 500 classes, each of two or three samples."""
    n = draw(st.integers(1000, 1100))
    X = draw(columns(n, draw(st.integers(1, 2))))
    return X, np.random.default_rng(draw(st.integers(0, 99))).permutation(np.arange(n) % 500)


@st.composite
def cases(draw):
    """(estimator, parameters, X, y, sample_weight, whether rows come as a stream)."""
    options = draw(parameters())
    kind = draw(st.sampled_from([*ESTIMATORS] * 8 + [None]))
    few_outputs = kind is not None
    if kind is None:
        options |= {"max_iter": 1, "n_fields": 2, "n_intervals": 1, "readout": "linear"}
        X, y = draw(many_classes())
        kind = ControlledODEClassifier
    else:
        X = draw(inputs())
        y = draw({
            ControlledODERegressor: values,
            ControlledODEClassifier: labels,
            ControlledODETransformer: any_targets,
        }[kind](len(X)))  # fmt: skip
    if draw(st.booleans()):
        # None is the smallest state that holds the inputs
        options["n_states"] = X.shape[1] + draw(st.integers(0, 3))
    if kind is not ControlledODETransformer:
        options["n_members"] = draw(st.integers(1, 2)) if few_outputs else 1
    if kind is ControlledODEClassifier and y.ndim == 1:
        options["class_weight"] = draw(st.sampled_from([None, None, "balanced"]))
    stream = draw(st.sampled_from([False, False, True]))
    if stream:
        # a stream has no rows to hold out, and does not know how many of a class will come
        options["early_stopping"] = False
        options |= {"class_weight": None} if "class_weight" in options else {}
    return kind, options, X, y, draw(weights(len(X))), stream


ESTIMATORS = (ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer)


@contextmanager
def no_hang():
    """An error in place of a hang."""

    def interrupt(number, frame):
        raise TimeoutError(f"no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def excused(function):
    """What a function returns, or None after an error that says what the data did."""
    try:
        return function()
    except ValueError as error:
        assert EXCUSES.search(str(error)), error
        event(EXCUSES.search(str(error))[0])
        return None


def answers(model, X):
    """All that a fitted model says of rows, by name."""
    names = ["predict", "predict_proba", "predict_log_proba", "decision_function", "transform"]
    said = {name: getattr(model, name)(X) for name in names if hasattr(model, name)}
    if isinstance(model, ControlledODERegressor) and model.ensemble_.has_variance:
        said["std"] = model.predict(X, return_std=True)[1]
    return said | {"trajectory": model.trajectory(X)}


def assert_sound(model, X, said):
    """Every number is finite, probabilities are some, labels are known."""
    assert np.isfinite(model.controls_).all()
    for name, value in said.items():
        assert value.dtype.kind not in "fc" or np.isfinite(value).all(), name
        assert len(value) == (model.n_intervals + 1 if name == "trajectory" else len(X)), name
    if "std" in said:
        assert (said["std"] >= 0).all()
    if "predict_proba" in said:
        p = said["predict_proba"]
        assert ((p >= 0) & (p <= 1)).all()
        if said["predict"].ndim == 1:
            np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
            assert np.isin(said["predict"], model.classes_).all()


def sound_or_excused(kind, options, X, y, sample_weight, stream):
    """Fit and predict, near the data and far away; a copy says the same."""
    model = kind(**options)
    fit = partial(model.fit, sample_weight=sample_weight)
    # balanced weights need all rows
    if stream and hasattr(model, "partial_fit") and options.get("class_weight") is None:
        fit = partial(model.partial_fit, sample_weight=sample_weight)
    if excused(lambda: fit(X, y)) is None:
        assert not hasattr(model, "controls_")
        return
    event("sound")
    said = excused(lambda: answers(model, X))
    if said is not None:
        assert_sound(model, X, said)
        twin = answers(pickle.loads(pickle.dumps(model)), X)
        for name, value in said.items():
            np.testing.assert_array_equal(value, twin[name], err_msg=name)
    far = (1e3 * X).astype(X.dtype)
    if np.isfinite(far).all() and (said := excused(lambda: answers(model, far))) is not None:
        assert_sound(model, far, said)
    if stream:
        excused(lambda: fit(X, y))


def run(case):
    with no_hang(), warnings.catch_warnings():
        # every other warning is an error
        warnings.simplefilter("ignore", ConvergenceWarning)
        for excuse in ("The flow all but explodes", "The flow or the loss overflows"):
            warnings.filterwarnings("ignore", excuse, RuntimeWarning)
        sound_or_excused(*case)


cases_of = partial(
    settings,
    derandomize="SKCODE_EXPLORE" not in os.environ,
    database=None,
    deadline=timedelta(seconds=PATIENCE),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cases_of(max_examples=200)
@given(cases())
def test_two_hundred_cases(case):
    run(case)


@pytest.mark.slow
@cases_of(max_examples=2000)
@given(cases())
def test_two_thousand_cases(case):
    run(case)
