"""Fields on images: against loops over places, autograd of the definition, and differences."""

import pickle
import tracemalloc

import numpy as np
import pytest
from autograd import make_jvp, make_vjp
from helpers import combined, draw, naive_flow
from scipy.signal import correlate2d

from skcode import ControlledODEClassifier
from skcode.fields import (
    ConvolutionalFields,
    FilterFields,
    LocalFields,
    MixingFields,
    NeuralFields,
    homogeneous,
)
from skcode.flow import flow
from skcode.solvers import Adam

SHAPE = (5, 6, 2)
N_INPUTS = 60

#: family, states: odd shapes, cells over the edge, channels with several fields or one
FAMILIES = {
    "convolutional": (ConvolutionalFields(SHAPE, cell=2, bias_scale=1.0), 60 + 9 * 3),
    "single pixels": (ConvolutionalFields(SHAPE, cell=1, kernel_size=5), 60 + 30),
    "rank 2, kept derivative": (ConvolutionalFields(SHAPE, cell=3, activation="gelu", rank=2), 64),
    "no hidden channels": (ConvolutionalFields(SHAPE, cell=2, kernel_size=1), 60),
    "filters": (FilterFields(SHAPE, kernel_size=3, pooling=2), 60 + 4 * 3),
    "filters of two sizes": (FilterFields(SHAPE, (2, 4), pooling=2, activation="sin"), 60 + 4 * 2),
    "filters with a stride": (FilterFields(SHAPE, 2, stride=2, pooling=1, activation="tanh"), 61),
    "mixing": (MixingFields(SHAPE, 3, n_filters=2, pooling=2), 60 + 3 * 30),
    "mixing, kept derivative": (MixingFields(SHAPE, 2, 1, activation="gelu"), 60 + 2 * 30),
    "mixing single pixels": (MixingFields((3, 4, 5), 2, 3, 1, "tanh"), 60 + 2 * 12),
    "stack": (FilterFields(SHAPE, 3, pooling=2) | NeuralFields(rank=1), 60 + 4 * 3),
}
every_family = pytest.mark.parametrize("name", FAMILIES)
TOLERANCE = {"float64": 1e-11, "float32": 2e-4}
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def problem(name, n=6):
    rng = np.random.default_rng(1)
    family, m = FAMILIES[name]
    reference = rng.standard_normal((100, N_INPUTS))
    fields = draw(family, m, 5, n_inputs=N_INPUTS, reference=reference)
    x, p, dx = rng.standard_normal((3, n, m))
    u, du = rng.standard_normal((2, fields.n_fields))
    return fields, x, u, p, dx, du


@every_family
def test_what_fields_say_they_leave_still_they_leave_still(name):
    fields, x, *_ = problem(name)
    assert not fields.value(x)[:, :, : fields.n_still].any()
    if name.startswith(("filters", "mixing")):
        assert fields.n_still == N_INPUTS


@both_dtypes
@every_family
def test_kernels_are_autograd_of_the_definition(name, dtype):
    fields, x, u, p, dx, du = problem(name)
    single, tolerance = fields.astype(dtype), TOLERANCE[dtype]
    v = single.combine(x.astype(dtype), u)
    assert v.dtype == dtype
    np.testing.assert_allclose(v, combined(fields, x, u), atol=tolerance)
    x_bar, u_bar = single.pullback(x.astype(dtype), u, p)
    np.testing.assert_allclose(x_bar, make_vjp(combined, 1)(fields, x, u)[0](p), atol=tolerance)
    np.testing.assert_allclose(
        u_bar, make_vjp(combined, 2)(fields, x, u)[0](p), atol=10 * tolerance
    )
    dv = single.pushforward(x.astype(dtype), u, dx, du)
    in_x = make_jvp(lambda x: combined(fields, x, u))(x)(dx)[1]
    np.testing.assert_allclose(dv, in_x + combined(fields, x, du), atol=tolerance)


@every_family
def test_rows_are_pullbacks_of_single_samples(name):
    fields, x, u, *_ = problem(name, n=3)
    (n, m), K = x.shape, 2
    adjoints = np.random.default_rng(2).standard_normal((K, m, n))
    kernel, bound, block = fields.kernel(n, x.dtype, (K,)), fields.bind(u), homogeneous(x)
    tape, x_bar = kernel.new_tape(), np.empty_like(adjoints)
    rows = np.zeros((K, fields.n_fields, n))
    kernel.forward(bound, block, np.empty((m, n)), tape)
    kernel.rows(bound, block, tape, adjoints, x_bar, rows)
    for k in range(K):
        for i in range(n):
            one_x_bar, one_row = fields.pullback(x[[i]], u, adjoints[k, :, [i]])
            np.testing.assert_allclose(x_bar[k, :, [i]], one_x_bar, atol=1e-12)
            np.testing.assert_allclose(rows[k, :, i], one_row, atol=1e-12)


@every_family
def test_a_flow_of_images_is_the_naive_loop(name):
    fields, x, u, p, _, du = problem(name)
    controls = 0.3 * np.stack([u, du, u])

    acts = fields.acts(3)

    def loop(controls):
        return naive_flow(fields, x, controls if acts is None else controls * acts)

    np.testing.assert_allclose(flow(fields, x, controls), loop(controls), atol=1e-10)
    by_flow = make_vjp(lambda controls: flow(fields, x, controls))(controls)[0](p)
    np.testing.assert_allclose(by_flow, make_vjp(loop)(controls)[0](p), rtol=1e-8, atol=1e-8)


@every_family
def test_drawn_fields_survive_pickle(name):
    fields, x, u, *_ = problem(name)
    again = pickle.loads(pickle.dumps(fields))
    np.testing.assert_array_equal(again.combine(x, u), fields.combine(x, u))


def test_a_convolutional_field_is_a_convolution():
    """Cells of one pixel: correlate2d of every channel, colours and hidden ones."""
    fields = draw(ConvolutionalFields(SHAPE, cell=1), 60 + 30, 1, n_inputs=N_INPUTS)
    x = np.random.default_rng(0).standard_normal((1, 90))
    pixels, hidden = x[0, :60].reshape(SHAPE), x[0, 60:].reshape(5, 6)
    channels = [pixels[..., 0], pixels[..., 1], np.maximum(hidden, 0)]
    a = fields.A[0, :-1].reshape(3, 3, 3)
    read = sum(correlate2d(z, k, mode="same") for z, k in zip(channels, a, strict=True))
    written = fields.B[:, 0, None, None] * (read + fields.A[0, -1])
    v = fields.value(x)[0, 0]
    np.testing.assert_allclose(v[:60].reshape(SHAPE), written[:2].transpose(1, 2, 0), atol=1e-12)
    np.testing.assert_allclose(v[60:].reshape(5, 6), written[2], atol=1e-12)


def test_a_filter_field_is_a_pooled_correlation_with_zero_mean_and_unit_size():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((64, 30))
    fields = draw(FilterFields((5, 6), 2, pooling=2), 30 + 4, 1, n_inputs=30, reference=reference)
    a, b = fields.A[0, :-1].reshape(2, 2), fields.A[0, -1]
    responses = [
        np.maximum(correlate2d(z.reshape(5, 6), a, mode="valid") + b, 0) for z in reference
    ]
    # places 4 x 5: the windows of the columns share the middle one
    windows = [
        (rows, columns)
        for rows in (slice(0, 2), slice(2, 4))
        for columns in (slice(0, 3), slice(2, 5))
    ]
    pooled = np.array([[r[w].mean() for w in windows] for r in responses])
    centred = pooled - pooled.mean(axis=0)
    x = np.hstack([reference, np.zeros((64, 4))])
    v = fields.value(x)[:, 0]
    np.testing.assert_allclose(v[:, 30:], centred / np.sqrt(np.mean(centred**2)), atol=1e-10)
    np.testing.assert_array_equal(v[:, :30], 0)


def test_channels_take_fields_in_turn():
    fields = draw(FilterFields((5, 6), 2, pooling=1), 30 + 2, 5, n_inputs=30)
    written = np.abs(fields.value(np.ones((1, 32)))[0, :, 30:]) > 0
    np.testing.assert_array_equal(written.argmax(axis=1), [0, 1, 0, 1, 0])


def test_the_readout_reads_what_the_fields_observe():
    filters = FilterFields((5, 6), 2, pooling=2)
    fields = draw(filters, filters.n_states(3), 3, n_inputs=30)
    x = np.arange(42.0)
    np.testing.assert_array_equal(fields.observation @ x, x[30:])
    convolutional = ConvolutionalFields((5, 6), cell=1, pooling=2)
    fields = draw(convolutional, convolutional.n_states(2), 3, n_inputs=30)
    x = np.random.default_rng(0).standard_normal(90)
    hidden = x[30:].reshape(2, 5, 6)
    # five rows in two windows: the third row is in both
    means = [
        channel[rows, columns].mean()
        for channel in hidden
        for rows in (slice(0, 3), slice(2, 5))
        for columns in (slice(0, 3), slice(3, 6))
    ]
    np.testing.assert_allclose(fields.observation @ x, means)


def test_mixing_writes_scaled_colours_filtered_channels_and_constants():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((50, N_INPUTS)) * 3 + 1
    family = MixingFields(SHAPE, n_channels=3, n_filters=2, bias_scale=1.0)
    fields = draw(family, family.n_states(), None, n_inputs=N_INPUTS, reference=reference)
    x = rng.standard_normal((1, family.n_states()))
    pixels, hidden = x[0, :60].reshape(SHAPE), x[0, 60:].reshape(3, 5, 6)
    written = dict(zip(fields.labels, fields.value(x)[0], strict=True))
    assert not any(v[:60].any() for v in written.values())

    def channels(label):
        return written[label][60:].reshape(3, 5, 6)

    seen = reference.reshape(-1, 2)[:, 1]
    colour = np.zeros((3, 5, 6))
    colour[2] = (pixels[..., 1] - seen.mean()) / seen.std()
    np.testing.assert_allclose(channels("colour[2, 1]"), colour, atol=1e-12)
    # response 3 is the second filter of channel 1
    kernel, bias = fields.A[1, 1, :-1].reshape(3, 3), fields.A[1, 1, -1]
    response = np.zeros((3, 5, 6))
    response[0] = np.maximum(correlate2d(hidden[1], kernel, mode="same") + bias, 0)
    np.testing.assert_allclose(channels("filter[0, 3]"), response, atol=1e-12)
    constant = np.zeros((3, 5, 6))
    constant[1] = 1
    np.testing.assert_array_equal(channels("constant[1]"), constant)


def test_a_colour_that_never_changes_stays_small():
    reference = np.random.default_rng(0).standard_normal((50, 5, 6, 2))
    reference[..., 1] = 7.0
    family = MixingFields(SHAPE, n_channels=1)
    fields = draw(family, family.n_states(), None, n_inputs=60, reference=reference.reshape(50, 60))
    assert fields.gain[1] == 1
    assert fields.mean[1] == 7


@pytest.mark.parametrize("composite", [False, True])
def test_controls_outside_of_their_window_change_nothing(composite):
    family = MixingFields((3, 4, 5), 2, 3, pooling=1)
    family = family | NeuralFields(rank=1) if composite else family
    fields = draw(family, 84, 4, n_inputs=N_INPUTS)
    acts = fields.acts(3)
    assert acts.sum() == 2 * 5 + 2 * (2 * 6) + 3 * 2 + (3 * 4 if composite else 0)
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((4, 84)), rng.standard_normal((3, fields.n_fields))
    ends, pull = make_vjp(lambda u: flow(fields, x, u, "heun"))(u)[::-1]
    np.testing.assert_array_equal(ends, flow(fields, x, u * acts, "heun"))
    gradient = pull(rng.standard_normal(ends.shape))
    np.testing.assert_array_equal(gradient == 0, ~acts)


@pytest.mark.parametrize(
    ("family", "m", "message"),
    [
        (FilterFields((5, 5), 2), 46, "image_shape=.* must be"),
        (FilterFields((5, 6), 6), 46, "kernel_size=6 must lie between 1 and 5"),
        (FilterFields((5, 6), 2, pooling=5), 55, "pooling=5 needs"),
        (FilterFields((5, 6), 2), 45, "multiple of the 16 windows"),
        (FilterFields((5, 6), 2, pooling=1), 36, "n_fields=5 must be at least"),
        (ConvolutionalFields((5, 6), cell=2), 31, "multiple of the 9 cells"),
        (ConvolutionalFields((5, 6), kernel_size=2), 34, "kernel_size=2 must be odd"),
        (ConvolutionalFields((5, 6), cell=2, pooling=1), 30, "pooling needs hidden channels"),
        (
            MixingFields((5, 6), 2),
            91,
            "n_states=91 must be 90, the 30 pixels and 2 channels of 5 x 6",
        ),
        (MixingFields((5, 6), 2, kernel_size=4), 90, "kernel_size=4 must be odd"),
        (MixingFields((5, 6), 2, pooling=6), 90, "pooling=6 must be at most 5"),
        (MixingFields((5, 5), 2), 90, "image_shape=.* must be"),
    ],
)
def test_wrong_parameters_are_named(family, m, message):
    with pytest.raises(ValueError, match=message):
        draw(family, m, 5, n_inputs=30)


@pytest.fixture(scope="module")
def stripes():
    """Noisy images of horizontal and vertical stripes at random places, as bytes."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 60, (600, 8, 8)), rng.integers(0, 2, 600)
    for image, label in zip(X, y, strict=True):
        at = rng.integers(0, 8)
        image[(slice(None), at) if label else at] += 90
    return X.reshape(600, 64).astype(np.uint8), y


def classifier(family, **options):
    defaults = {"n_fields": 8, "n_intervals": 1, "n_members": 1, "scaling": "common"}
    solver = Adam("cosine", learning_rate_init=0.05, batch_size=50, start_readout=True)
    return ControlledODEClassifier(
        family, solver=solver, tol=0.0, random_state=0, **defaults | options
    )


def test_shared_filters_see_stripes_wherever_they_are(stripes):
    X, y = stripes
    family = FilterFields((8, 8), kernel_size=3, pooling=1)
    model = classifier(family, n_states=family.n_states(4), max_iter=40).fit(X[:400], y[:400])
    assert model.score(X[400:], y[400:]) > 0.97
    assert model.n_parameters_ == 8 + 4 + 1
    assert model.readout_coef_.shape == (1, 4)
    assert model.readout_coef_.dtype == np.float32
    np.testing.assert_array_equal(model.predict(X), model.predict(X.astype(np.float32)))


def test_trained_controls_of_convolutional_fields_see_stripes(stripes):
    X, y = stripes
    family = ConvolutionalFields((8, 8), cell=2, pooling=1)
    options = {"n_states": family.n_states(8), "n_fields": 32, "n_intervals": 3, "max_iter": 20}
    frozen = classifier(family, train_controls=False, **options).fit(X[:400], y[:400])
    trained = classifier(family, **options).fit(X[:400], y[:400])
    assert trained.loss_ < 0.7 * frozen.loss_
    assert trained.score(X[400:], y[400:]) > 0.9


def test_trained_mixing_sees_stripes_that_frozen_mixing_misses(stripes):
    X, y = stripes
    family = MixingFields((8, 8), n_channels=2, n_filters=2, pooling=1)
    options = {"n_states": family.n_states(), "n_intervals": 2, "max_iter": None}
    frozen = classifier(family, train_controls=False, **options)
    trained = classifier(family, **options)
    for model in (frozen, trained):
        model.set_params(solver="gauss-newton").fit(X[:400], y[:400])
    assert trained.score(X[400:], y[400:]) > max(0.9, frozen.score(X[400:], y[400:]) + 0.1)
    # colours in the first interval, four filters of two channels in the second, constants in both
    assert trained.n_parameters_ == 2 * 1 + 2 * 4 + 2 * 2 + (2 + 1)
    acts = trained.ensemble_.members[0].model.fields.acts(2)
    np.testing.assert_array_equal(trained.controls_[~acts], 0)
    assert np.all(trained.controls_[acts] != 0)


def test_training_on_mapped_bytes_never_copies_them(stripes, tmp_path, monkeypatch):
    monkeypatch.setattr("skcode.training._rows.CANONICAL_ROWS", 0)
    monkeypatch.setattr("skcode.objective._newton_readout._CHUNK_ENTRIES", 2**16)
    np.save(tmp_path / "X.npy", np.tile(stripes[0], (150, 1)))
    X, y = np.load(tmp_path / "X.npy", mmap_mode="r"), np.tile(stripes[1], 150)
    family = FilterFields((8, 8), kernel_size=3, pooling=1)
    model = classifier(family, n_states=family.n_states(4), n_fields=4, max_iter=1)
    model.solver.set_params(batch_size=512)
    # what is imported late does not count
    model.fit(X[:600], y[:600])
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # less than one copy in single precision, all buffers included
    assert peak < X.astype(np.float32).nbytes
    model.partial_fit(X[:512], y[:512])
    assert model.score(X[:600], y[:600]) > 0.7


def test_verbose_tells_losses_validation_and_the_time_left(stripes, capsys):
    X, y = stripes
    family = FilterFields((8, 8), kernel_size=3, pooling=1)
    model = classifier(family, n_states=family.n_states(4), max_iter=2, verbose=True)
    model.fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    line = capsys.readouterr().out.splitlines()[-1]
    for part in ("iteration 2, loss", "validation loss", "score 0.", "at most 0 s left"):
        assert part in line


def test_a_local_row_reads_one_patch_with_a_given_deviation():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((500, N_INPUTS)) * rng.uniform(0.1, 3, N_INPUTS)
    family = LocalFields(SHAPE, patch_size=(2, 3), rank=2, scale=0.7)
    fields = draw(family, 64, 7, n_inputs=N_INPUTS, reference=reference)
    for row in fields.A[:, :N_INPUTS].reshape(-1, *SHAPE):
        rows, columns, _ = np.nonzero(row)
        assert np.ptp(rows) < 3
        assert np.ptp(columns) < 3
        assert np.count_nonzero(row) == 2 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    deviation = (reference @ fields.A[:, :N_INPUTS].T).std(axis=0)
    np.testing.assert_allclose(deviation, 0.7)
    assert draw(family.set_params(rank=None), 64, 2, n_inputs=N_INPUTS).B is None
    with pytest.raises(ValueError, match="patch_size=.* must lie between 1 and 5"):
        draw(LocalFields(SHAPE, patch_size=(2, 6)), 64, 7, n_inputs=N_INPUTS)
