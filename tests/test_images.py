"""Filters of whitened patches and shifted copies: against loops over places, and in pipelines."""

import pickle

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.signal import correlate2d
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skcode import ControlledODEClassifier
from skcode.fields import MixingFields
from skcode.images import PatchFilters, ShiftedImagesClassifier
from skcode.solvers import Adam

SHAPE = (6, 7, 2)


@pytest.fixture(scope="module")
def images():
    """Smooth images of two colours, as bytes."""
    rng = np.random.default_rng(0)
    rough = rng.standard_normal((60, *SHAPE)).cumsum(axis=1).cumsum(axis=2)
    low, high = rough.min(), rough.max()
    return ((rough - low) / (high - low) * 200).astype(np.uint8).reshape(60, -1)


def filters(**options):
    defaults = {"n_filters": 5, "kernel_size": 3, "pooling": 2, "random_state": 0}
    return PatchFilters(SHAPE, **defaults | options)


@pytest.mark.parametrize("exponent", [1, 0.5, np.float64(0.3), (1.0, 0.5)])
def test_a_response_is_a_power_of_a_pooled_correlation_in_bytes(images, exponent):
    model = filters(exponent=exponent).fit(images)
    out = model.transform(images).reshape(-1, *model.image_shape_)
    assert out.dtype == np.uint8
    padded = np.pad(
        images.reshape(-1, *SHAPE).astype(float),
        [(0, 0), (1, 1), (1, 1), (0, 0)],
        constant_values=model.padding_,
    )
    # six rows in two windows, seven columns in two that share one
    windows = [[slice(0, 3), slice(3, 6)], [slice(0, 4), slice(3, 7)]]
    for j, row in enumerate(model.filters_):
        kernel = row[:-1].reshape(3, 3, 2)
        for image, colours in zip(padded[:5], out[:5, ..., j], strict=True):
            z = sum(correlate2d(image[..., c], kernel[..., c], mode="valid") for c in (0, 1))
            z = np.maximum(z + row[-1], 0)
            pooled = np.array([[z[r, c].mean() for c in windows[1]] for r in windows[0]])
            shares = np.minimum(pooled / model.largest_[j], 1)
            expected = 255 * shares ** np.resize(exponent, 5)[j]
            np.testing.assert_allclose(colours, expected, atol=0.51)


def test_the_largest_response_of_each_filter_is_the_largest_byte(images):
    model = filters().fit(images)
    out = model.transform(images).reshape(-1, 5)
    np.testing.assert_array_equal(out.max(axis=0), 255)
    brighter = np.clip(images.astype(float) * 3, 0, 600)
    assert model.transform(brighter).max() == 255


def test_responses_have_unit_variance_and_random_biases(images):
    model = filters(n_filters=40, bias_scale=0.0).fit(images)
    # bias zero: the mean pixel gives no response
    flat = np.full((1, images.shape[1]), model.padding_)
    assert model.transform(flat).max() == 0
    patches = np.lib.stride_tricks.sliding_window_view(
        images.reshape(-1, *SHAPE) - model.padding_, (3, 3), axis=(1, 2)
    )
    patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 18)
    second_moments = np.mean((patches @ model.filters_[:, :-1].T) ** 2, axis=0)
    np.testing.assert_allclose(second_moments, 1, rtol=0.1)


def test_units_of_pixels_change_nothing(images):
    bytes = filters().fit_transform(images)
    floats = filters().fit_transform(images.astype(np.float32) / 255)
    # a response may be rounded the other way
    assert np.abs(bytes.astype(int) - floats).max() <= 1


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_rows_do_not_see_one_another(images, n_jobs):
    model = filters(n_jobs=n_jobs).fit(images)
    one_by_one = np.vstack([model.transform(row[None]) for row in images])
    np.testing.assert_array_equal(model.transform(images), one_by_one)


@pytest.mark.parametrize("exponent", [1e3, 1e300])
def test_a_huge_power_leaves_the_largest_response(images, exponent):
    model = filters(exponent=exponent).fit(images)
    out = model.transform(images).reshape(-1, 5)
    assert (out == 255).any(axis=0).all()
    assert (out == 0).mean() > 0.9


def test_what_is_set_after_the_fit_waits_for_the_next(images):
    model = filters().fit(images)
    before = model.transform(images)
    model.set_params(n_filters=2, kernel_size=5, pooling=3, exponent=0.5, image_shape=(84, 1))
    np.testing.assert_array_equal(model.transform(images), before)
    assert len(model.get_feature_names_out()) == before.shape[1]
    assert (model.pixel_shape_, model.kernel_size_) == (SHAPE, 3)


def test_shapes_of_the_fit_need_a_fit():
    for name in ("kernel_size_", "pooling_matrix_"):
        with pytest.raises(NotFittedError):
            getattr(filters(), name)


def test_images_that_never_change_give_zeros():
    X = np.full((4, 84), 7.0)
    out = filters(bias_scale=0.0).fit_transform(X)
    np.testing.assert_array_equal(out, 0)


def test_it_is_a_transformer(images):
    model = filters()
    assert clone(model).get_params() == model.get_params()
    names = model.fit(images).get_feature_names_out()
    assert names[0] == "patchfilters0"
    assert len(names) == model.transform(images).shape[1] == 20
    assert model.n_features_in_ == 84


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 2}, "kernel_size=2 must be odd"),
        ({"kernel_size": 7}, "kernel_size=7 and pooling=2 must be at most 6"),
        ({"pooling": 7}, "pooling=7 must be at most 6"),
        ({"n_filters": 0}, "n_filters"),
        ({"exponent": 0.0}, "exponent"),
        ({"exponent": np.inf}, "exponent"),
        ({"exponent": "root"}, "exponent"),
        ({"exponent": ()}, r"exponent=\(\) must be"),
        ({"exponent": (1.0, -1.0)}, r"exponent=\(1.0, -1.0\) must be"),
        ({"image_shape": (5, 5)}, "image_shape=.* must be"),
    ],
)
def test_wrong_parameters_are_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        filters().set_params(**options).fit(images)


def test_bad_images_are_errors(images):
    with pytest.raises(ValueError, match="NaN"):
        filters().fit(np.where(images == images[0, 0], np.nan, images))
    with pytest.raises(ValueError, match="expecting 84 features"):
        filters().fit(images).transform(images[:, :10])


def test_few_trained_numbers_read_digits():
    X, y = load_digits(return_X_y=True)
    family = MixingFields((4, 4, 12), n_channels=6, n_filters=2, pooling=2)
    model = make_pipeline(
        PatchFilters((8, 8), n_filters=12, kernel_size=3, pooling=4, random_state=0),
        ControlledODEClassifier(
            family,
            n_states=family.n_states(),
            n_intervals=2,
            n_members=1,
            scaling="common",
            solver=Adam("cosine", learning_rate_init=0.05, batch_size=50, start_readout=True),
            max_iter=6,
            tol=0.0,
            random_state=0,
        ),
    )
    model.fit(X[:1200], y[:1200])
    assert model[-1].n_parameters_ == 6 * 12 + 6 * 12 + 2 * 6 + 10 * (6 * 4 + 1)
    assert model.score(X[1200:], y[1200:]) > 0.9


class Remembers(DummyClassifier):
    """Says how bright an image is on top and on the left; keeps what it was fitted to."""

    def fit(self, X, y, sample_weight=None):
        self.seen_ = X, y, sample_weight
        return super().fit(X, y, sample_weight)

    def predict_proba(self, X):
        image = X.reshape(-1, *SHAPE).astype(float)
        top, left = image[:, :2].mean(axis=(1, 2, 3)), image[:, :, 0].mean(axis=(1, 2))
        return np.column_stack([top, left]) / (top + left)[:, None]


def views(images, reach=1):
    """By the definition: scipy moves whole images, beyond the edge stands the edge."""
    moves = [(0, 0), (-reach, 0), (reach, 0), (0, -reach), (0, reach)]
    return [
        shift(images.reshape(-1, *SHAPE), (0, *move, 0), order=0, mode="nearest").reshape(
            images.shape
        )
        for move in moves
    ]


def test_copies_are_shifted_images_of_the_same_class(images):
    y = np.arange(len(images)) % 2
    weight = np.linspace(1, 2, len(images))
    model = ShiftedImagesClassifier(Remembers(), SHAPE, n_copies=3, reach=2, random_state=0)
    X, targets, weights = model.fit(images, y, weight).estimator_.seen_
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(targets.reshape(4, -1), np.tile(y, (4, 1)))
    np.testing.assert_array_equal(weights.reshape(4, -1), np.tile(weight, (4, 1)))
    copies = X.reshape(4, *images.shape)
    np.testing.assert_array_equal(copies[0], images)
    moved = np.stack(views(images, reach=2)[1:])
    found = (copies[1:, None] == moved).all(axis=3)
    # each copy is one of the four, and all four come up for some image
    assert found.any(axis=1).all()
    assert found.any(axis=(0, 2)).all()


def test_weights_reach_the_last_step_of_a_pipeline(images):
    y, weight = np.arange(len(images)) % 2, np.linspace(1, 2, len(images))
    steps = make_pipeline("passthrough", Remembers())
    model = ShiftedImagesClassifier(steps, SHAPE, n_copies=1).fit(images, y, weight)
    np.testing.assert_array_equal(model.estimator_[-1].seen_[2], np.tile(weight, 2))


@pytest.mark.parametrize("shape", [(8.7, 8.2), ((8, 8),), ("a", "b"), (64,), (8, 9)])
def test_shapes_of_images_are_whole_numbers(shape):
    with pytest.raises(ValueError, match="image_shape="):
        PatchFilters(shape).fit(load_digits().data)


def test_all_views_vote(images):
    y = np.arange(len(images)) % 2
    model = ShiftedImagesClassifier(Remembers(), SHAPE, n_copies=0).fit(images, y)
    np.testing.assert_array_equal(model.estimator_.seen_[0], images)
    assert model.estimator_.seen_[2] is None
    expected = np.mean([model.estimator_.predict_proba(view) for view in views(images)], axis=0)
    np.testing.assert_allclose(model.predict_proba(images), expected)
    np.testing.assert_array_equal(model.predict(images), expected.argmax(axis=1))


def test_shifted_images_of_a_named_frame_in_a_search():
    X, y = load_digits(return_X_y=True, as_frame=True)
    X, y = X[:240], y[:240].map(str)
    rows = make_pipeline(
        PatchFilters((8, 8), n_filters=8, kernel_size=3, pooling=4, random_state=0),
        LinearDiscriminantAnalysis(solver="lsqr"),
    )
    model = ShiftedImagesClassifier(rows, (8, 8), n_copies=1, random_state=0)
    search = GridSearchCV(model, {"n_copies": [0, 1], "estimator__patchfilters__n_filters": [8]})
    search.fit(X, y)
    best = search.best_estimator_
    assert list(best.feature_names_in_) == list(X.columns)
    assert best.predict(X.iloc[:3]).tolist() == ["0", "1", "2"]
    assert search.best_score_ > 0.8
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(X), best.predict_proba(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_copies": -1}, "n_copies"),
        ({"reach": 6}, "reach=6 must be less than 6"),
        ({"estimator": LinearRegression()}, "estimator"),
        ({"image_shape": (5, 5)}, "image_shape=.* must be"),
    ],
)
def test_wrong_parameters_of_shifts_are_named(images, options, message):
    model = ShiftedImagesClassifier(Remembers(), SHAPE).set_params(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(images, np.arange(len(images)) % 2)


def test_shifted_images_need_a_class_each(images):
    model = ShiftedImagesClassifier(Remembers(), SHAPE)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(images, [0, 1])
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(images, np.linspace(0, 1, len(images)))
    with pytest.raises(NotFittedError):
        model.predict(images)
