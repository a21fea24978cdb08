"""Laws of the draws, seeds, parameters and error messages of the families."""

from math import comb

import numpy as np
import pytest
from helpers import FAMILIES, N_FIELDS, N_STATES, draw, drift, pendulum
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skcode import fields as public
from skcode.fields import (
    AffineFields,
    ConvolutionalFields,
    DiagonalFields,
    DrawnFields,
    DrawnStack,
    DrawnSum,
    FilterFields,
    FunctionFields,
    LinearFields,
    LocalFields,
    Monomials,
    NeuralFields,
    PolynomialFields,
    TwoFields,
    UniversalFields,
)

X = np.random.default_rng(3).standard_normal((5, N_STATES))
RANDOM = [
    name for name in FAMILIES if name not in ("diagonal", "functions", "sum with functions", "two")
]
every_kind = pytest.mark.parametrize("name", FAMILIES)
every_random = pytest.mark.parametrize("name", RANDOM)


@every_random
def test_the_seed_determines_the_draw(name):
    first = draw(name, seed=7).value(X)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    np.testing.assert_array_equal(draw(name, seed=7).value(X), first)
    np.random.seed(1)  # noqa: NPY002
    generator = np.random.default_rng(7)
    np.testing.assert_array_equal(draw(name, seed=generator).value(X), first)
    assert np.abs(draw(name, seed=generator).value(X) - first).max() > 1e-3
    assert np.abs(draw(name, seed=8).value(X) - first).max() > 1e-3
    assert np.abs(draw(name, seed=None).value(X) - first).max() > 1e-3


@every_random
def test_a_random_state_gives_a_stream_of_draws(name):
    first, second = (np.random.RandomState(5) for _ in range(2))
    a, b = (draw(name, seed=first).value(X) for _ in range(2))
    np.testing.assert_array_equal(draw(name, seed=second).value(X), a)
    np.testing.assert_array_equal(draw(name, seed=second).value(X), b)
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in FAMILIES if "centred" not in name])
def test_a_draw_reads_the_seed_and_not_the_data(name):
    here = draw(name, reference=X).value(X)
    np.testing.assert_array_equal(draw(name, reference=1e3 * X[:1]).value(X), here)
    np.testing.assert_array_equal(draw(name).value(X), here)


@every_kind
def test_drawing_leaves_the_family_as_it_was(name):
    family = clone(FAMILIES[name])
    before = repr(family.get_params())
    draw(family)
    assert repr(family.get_params()) == before
    assert [key for key in vars(family) if key not in family.get_params(deep=False)] == []


# -- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [None, 1, 2])
def test_preactivations_of_unit_inputs_have_the_variance_of_scale(rank):
    m, p, d = 24, 16, 1000 if rank else 40
    fields = NeuralFields(rank=rank, scale=0.7, bias_scale=0.3).draw(m, d, 0, n_inputs=p)
    A, b = fields.A[:, :-1], fields.A[:, -1]
    # the variance of A x over x ~ N(0, I) is the squared norm of a row: inputs and rest each
    np.testing.assert_allclose(np.mean(np.sum(A[:, :p] ** 2, axis=1)), 0.7**2, rtol=0.06)
    np.testing.assert_allclose(np.mean(np.sum(A[:, p:] ** 2, axis=1)), 0.7**2, rtol=0.06)
    np.testing.assert_allclose(np.std(b), 0.3, rtol=0.1)
    assert abs(np.mean(A)) < 0.01
    assert len(A) == d * (rank or m)


@pytest.mark.parametrize("rank", [1, 3])
def test_unit_controls_sum_low_rank_fields_to_unit_size(rank):
    fields = NeuralFields(rank=rank).draw(16, 500, 0)
    # rows of B have squared norm one: sum_i B_i sigma_i has unit variance for unit sigma
    np.testing.assert_allclose(np.mean(np.sum(fields.B**2, axis=1)), 1, rtol=0.05)


def test_sparse_rows_read_few_inputs_and_are_steep():
    m, p, d = 12, 10, 2000
    family = NeuralFields(rank=1, sparse=0.25, steepness=4.0, max_active=2)
    A = family.draw(m, d, 0, n_inputs=p).A[:, :p]
    active = np.sum(A != 0, axis=1)
    sparse = active < p
    assert np.sum(sparse) == d // 4
    assert set(active[sparse]) == {1, 2}
    np.testing.assert_allclose(np.mean(np.sum(A[sparse] ** 2, axis=1)), 16, rtol=0.15)
    np.testing.assert_allclose(np.mean(np.sum(A[~sparse] ** 2, axis=1)), 1, rtol=0.05)


def test_centred_fields_change_at_data_points():
    reference = np.random.default_rng(0).standard_normal((3, 2))
    fields = NeuralFields("identity", rank=1, centred=True).draw(
        4, 50, 0, n_inputs=2, reference=reference
    )
    z = np.hstack([reference, np.zeros((3, 2)), np.ones((3, 1))]) @ fields.A.T
    np.testing.assert_allclose(np.min(np.abs(z), axis=0), 0, atol=1e-14)
    assert set(np.argmin(np.abs(z), axis=0)) == {0, 1, 2}


def test_polynomial_activations_are_one_normal_polynomial_a_field():
    d, degree = 4000, 2
    c = NeuralFields("polynomial", rank=2, degree=degree).draw(3, d, 0).activation.coefficients
    by_field = c.reshape(degree + 1, d, 2)
    np.testing.assert_array_equal(by_field[:, :, 0], by_field[:, :, 1])
    # independent and normal: a density that reaches sigma(r) = r and sigma(r) = r^2
    covariance = np.cov(by_field[:, :, 0])
    np.testing.assert_allclose(covariance, np.eye(degree + 1) / (degree + 1), atol=0.03)
    assert np.mean(by_field > 0) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("m", "degree"), [(2, 1), (3, 2), (4, 3), (2, 5)])
def test_a_polynomial_field_has_m_times_binomial_coefficients(m, degree):
    fields = PolynomialFields(degree).draw(m, 2, 0)
    assert fields.coefficients.shape == (2, m, comb(m + degree, m))
    exponents = fields.monomials.exponents
    assert len(set(exponents)) == comb(m + degree, m)
    x = np.random.default_rng(0).standard_normal((4, m))
    phi = [np.prod(x[:, list(alpha)], axis=1) for alpha in exponents]
    np.testing.assert_allclose(fields.monomials.evaluate(x), np.transpose(phi), rtol=1e-13)


def test_coefficients_have_the_deviation_of_scale():
    c = PolynomialFields(2, scale=0.5).draw(10, 50, 0).coefficients
    np.testing.assert_allclose(np.std(c) * np.sqrt(comb(12, 2)), 0.5, rtol=0.03)
    linear = LinearFields(scale=2.0).draw(20, 50, 0).matrices
    np.testing.assert_allclose(np.std(linear[:, :, :-1]) * np.sqrt(20), 2, rtol=0.03)
    np.testing.assert_array_equal(linear[:, :, -1], 0)
    affine = AffineFields(scale=2.0, bias_scale=0.5).draw(20, 200, 0).matrices
    np.testing.assert_allclose(np.std(affine[:, :, :-1]) * np.sqrt(20), 2, rtol=0.03)
    np.testing.assert_allclose(np.std(affine[:, :, -1]), 0.5, rtol=0.05)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_universal_fields_are_those_of_the_theorem(m):
    fields = UniversalFields(scale=1.5).draw(m, rng=0)
    x = np.random.default_rng(1).standard_normal((4, m))
    V = fields.value(x)
    images = fields.value(np.eye(m))
    for i in range(2):
        A = images[:, i].T
        assert abs(np.trace(A)) < 1e-13
        assert np.linalg.matrix_rank(A) == m
        np.testing.assert_allclose(V[:, i], x @ A.T, atol=1e-13)
    last, e = x[:, -1:], np.eye(m)
    np.testing.assert_allclose(V[:, 2], np.broadcast_to(e[-1], x.shape), atol=1e-15)
    np.testing.assert_allclose(V[:, 3], last**2 * e[0], rtol=1e-13)
    np.testing.assert_allclose(V[:, 4], last * x, rtol=1e-13)


def test_diagonal_fields_stretch_each_input_alone():
    fields = DiagonalFields().draw(4, 99, 0, n_inputs=2)
    x = np.array([[2.0, 3.0, 5.0, 7.0]])
    np.testing.assert_array_equal(fields.value(x)[0], [[2, 0, 0, 0], [0, 3, 0, 0]])
    np.testing.assert_array_equal(fields.combine(x, [10, 20])[0], [20, 60, 0, 0])
    np.testing.assert_array_equal(fields.start_scale, 0)


# -- sums and stacks -----------------------------------------------------------------------------


def test_a_sum_shares_controls_and_a_stack_adds_controls():
    first, second = LinearFields(), NeuralFields(rank=2)
    rng = np.random.default_rng(0)
    a, b = draw(first, seed=rng), draw(second, seed=rng)
    added, stacked = draw(first + second), draw(first | second)
    np.testing.assert_allclose(added.value(X), a.value(X) + b.value(X), rtol=1e-14)
    np.testing.assert_array_equal(stacked.value(X), np.hstack([a.value(X), b.value(X)]))
    assert added.n_fields == N_FIELDS
    assert added.labels[0] == "linear[0] + neural[0]"
    assert stacked.labels == a.labels + b.labels
    np.testing.assert_array_equal(
        stacked.start_scale, np.concatenate([a.start_scale, b.start_scale])
    )


@every_kind
def test_count_says_what_draw_returns(name):
    assert FAMILIES[name].count(N_FIELDS, N_STATES) == draw(name).n_fields


def test_nested_parameters_are_cloned_and_set():
    family = DiagonalFields() | (LinearFields() + NeuralFields(rank=1))
    assert family.get_params()["second__second__rank"] == 1
    twin = clone(family).set_params(second__second__rank=2, second__first__scale=0.5)
    assert twin.second.second.rank == 2
    assert family.second.second.rank == 1
    assert draw(twin).parts[1].parts[1].rank == 2
    np.testing.assert_array_equal(draw(clone(family)).value(X), draw(family).value(X))
    with pytest.raises(ValueError, match="Invalid parameter 'rang'"):
        family.set_params(second__second__rang=2)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "match"),
    [
        (PolynomialFields(degree=60), "degree=60 in 3 states needs 39711 monomials"),
        (FunctionFields([]), "functions must hold at least one callable"),
        (FunctionFields([drift, lambda x: x[:, :1]]), r"functions\[1\] must map states \(N, 3\)"),
        (FunctionFields([lambda x: x.sum()]), r"functions\[0\] must map states"),
        (FunctionFields(["drift"]), r"functions\[0\]='drift' must be callable"),
        (UniversalFields() + LinearFields(), "must draw the same number of fields"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_parameters_are_named(family, match, monkeypatch):
    monkeypatch.setattr(PolynomialFields, "_most_coefficients", 10**5)
    with pytest.raises(ValueError, match=match):
        draw(family)


SIZES, COUNTS = [-1.0, np.nan, np.inf, "a"], [0, 1.5, "a"]
WRONG = {
    NeuralFields(): {
        "activation": ["tang", None],
        "rank": COUNTS,
        "scale": SIZES,
        "bias_scale": SIZES,
        "degree": COUNTS,
        "sparse": [-0.1, 1.5],
        "steepness": SIZES,
        "max_active": COUNTS,
        "centred": ["yes"],
    },
    PolynomialFields(): {"degree": COUNTS, "scale": SIZES},
    LinearFields(): {"scale": SIZES},
    AffineFields(): {"scale": SIZES, "bias_scale": SIZES},
    UniversalFields(): {"scale": SIZES},
    TwoFields(): {},
    DiagonalFields(): {},
    FunctionFields([drift]): {"functions": [3, drift]},
    ConvolutionalFields((1, 3)): {
        "image_shape": [3],
        "cell": COUNTS,
        "kernel_size": COUNTS,
        "activation": ["polynomial"],
        "rank": COUNTS,
        "scale": SIZES,
        "bias_scale": SIZES,
        "pooling": COUNTS,
    },
    FilterFields((1, 3)): {
        "image_shape": [3],
        "kernel_size": COUNTS,
        "stride": COUNTS,
        "pooling": COUNTS,
        "activation": ["polynomial"],
        "bias_scale": SIZES,
        "skip_pixels": ["no"],
    },
    LocalFields((1, 3)): {
        "image_shape": [3],
        "patch_size": [3],
        "activation": ["polynomial"],
        "rank": COUNTS,
        "scale": SIZES,
        "bias_scale": SIZES,
    },
    LinearFields() + AffineFields(): {"first": ["linear"], "second": [None]},
    LinearFields() | AffineFields(): {"first": ["linear"], "second": [None]},
}


@pytest.mark.parametrize("family", WRONG, ids=lambda family: type(family).__name__)
def test_every_parameter_of_a_family_is_checked(family):
    assert set(WRONG[family]) == set(family.get_params(deep=False))
    for name, values in WRONG[family].items():
        for value in values:
            message = f"The '{name}' parameter of {type(family).__name__} must be"
            with pytest.raises(InvalidParameterError, match=message):
                draw(clone(family).set_params(**{name: value}))


@pytest.mark.parametrize("n_fields", [None, 0, -1, 2.0, "3"])
@pytest.mark.parametrize("family", [NeuralFields(), LinearFields() | NeuralFields()])
def test_free_families_need_a_positive_number_of_fields(family, n_fields):
    with pytest.raises(ValueError, match=f"needs n_fields >= 1; got {n_fields!r}"):
        draw(family, n_fields=n_fields)


@pytest.mark.parametrize("n_inputs", [0, 4])
def test_inputs_fit_into_the_state(n_inputs):
    with pytest.raises(ValueError, match=f"n_inputs={n_inputs} must lie between 1 and n_states=3"):
        draw("stack", n_inputs=n_inputs)


def test_universal_fields_need_two_states():
    with pytest.raises(ValueError, match="n_states >= 2; got 1"):
        UniversalFields().draw(1, rng=0)


def test_parts_share_their_numbers():
    three, four = LinearFields().draw(3, 2, 0), LinearFields().draw(4, 2, 0)
    for kind in (DrawnSum, DrawnStack):
        with pytest.raises(ValueError, match=r"share n_states; got \[3, 4\]"):
            kind([three, four])
    with pytest.raises(ValueError, match=r"share their number; got \[2, 5\]"):
        DrawnSum([three, LinearFields().draw(3, 5, 0)])


def test_families_combine_with_families_alone():
    with pytest.raises(TypeError):
        NeuralFields() + 1
    with pytest.raises(TypeError):
        NeuralFields() | pendulum


@pytest.mark.parametrize(
    "exponents", [[], [(0,)], [(), (0, 0)], [(), (1,), (0, 1), (0,)], [(), (0,), (0, 1)]], ids=str
)
def test_monomials_follow_their_divisors(exponents):
    with pytest.raises(ValueError, match="divisors"):
        Monomials(exponents, 2)


def test_slopes_are_the_coefficients_of_the_derivatives():
    monomials = Monomials.up_to(3, 2)
    c = np.random.default_rng(0).standard_normal((4, len(monomials)))
    x = np.array([0.3, -0.7])
    low = monomials.evaluate(x[None])[0, : monomials.n_quotients]
    step = 1e-6 * np.eye(2)
    ends = [monomials.evaluate(x + s * step) @ c.T for s in (1, -1)]
    np.testing.assert_allclose(
        monomials.slopes(c) @ low, ((ends[0] - ends[1]) / 2e-6).T, rtol=1e-7, atol=1e-9
    )


def test_what_a_family_draws_has_its_name():
    classes = [getattr(public, name) for name in public.__all__]
    drawn = {
        each.__name__
        for each in classes
        if isinstance(each, type) and issubclass(each, DrawnFields) and each is not DrawnFields
    }
    assert {name for name in public.__all__ if name.startswith("Drawn")} == drawn | {"DrawnFields"}
    assert {f"{name.removeprefix('Drawn')}Fields" for name in drawn} <= set(public.__all__)
