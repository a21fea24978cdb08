"""Brackets against hand computations, rank tables, the algebra's laws, and generation."""

from fractions import Fraction
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcode import ControlledODERegressor
from skcode.fields import (
    AffineFields,
    DiagonalFields,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    UniversalFields,
)
from skcode.geometry import (
    PolynomialField,
    bracket_basis,
    generates_polynomials,
    hormander_rank,
    interpolate,
    lie_algebra_rank,
    lie_bracket,
    universal_fields,
    vector_fields,
)

X3 = np.random.default_rng(0).normal(size=(4, 3))


def rotation(axis):
    A = np.zeros((3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    A[j, i], A[i, j] = 1, -1
    return A


def drive(x):
    return anp.stack([anp.cos(x[:, 2]), anp.sin(x[:, 2]), 0 * x[:, 2]], axis=1)


def turn(x):
    return 0 * x + np.array([0.0, 0.0, 1.0])


def heisenberg():
    one, zero = np.eye(3), np.zeros(3)
    X = PolynomialField({(): one[0], (1,): zero - one[2] / 2}, 3)
    Y = PolynomialField({(): one[1], (0,): zero + one[2] / 2}, 3)
    return X, Y


def test_so3():
    L = [rotation(i) for i in range(3)]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        # matrices: L_i L_j - L_j L_i = L_k; vector fields carry the opposite sign
        assert_allclose(lie_bracket(L[i], L[j])(X3), -X3 @ L[k].T)


def test_linear_bracket_is_the_commutator():
    rng = np.random.default_rng(1)
    A, B = rng.normal(size=(2, 3, 3))
    assert_allclose(lie_bracket(A, B)(X3), X3 @ (B @ A - A @ B).T)


def test_commutator_flow_moves_along_the_bracket():
    # e^{-tA} e^{-tB} e^{tA} e^{tB} x = x + t^2 (AB - BA) x + O(t^3)
    from_scipy = pytest.importorskip("scipy.linalg").expm
    A, B = np.random.default_rng(2).normal(size=(2, 3, 3))
    errors = []
    for t in (1e-2, 5e-3):
        product = from_scipy(-t * A) @ from_scipy(-t * B) @ from_scipy(t * A) @ from_scipy(t * B)
        move = (X3 @ product.T - X3) / t**2
        errors.append(abs(move - lie_bracket(B, A)(X3)).max())
    assert errors[1] < 0.6 * errors[0]


def test_heisenberg():
    X, Y = heisenberg()
    Z = lie_bracket(X, Y)
    assert_allclose(Z(X3), np.tile([0.0, 0.0, 1.0], (4, 1)))
    assert lie_bracket(X, Z).terms == {}
    assert lie_algebra_rank([X, Y], [1.0, 2.0, 3.0], 2).ranks == (2, 3)


def test_unicycle():
    theta = X3[:, 2]
    expected = np.stack([np.sin(theta), -np.cos(theta), 0 * theta], axis=1)
    # D(turn) drive - D(drive) turn
    assert_allclose(lie_bracket(drive, turn)(X3), expected)
    assert_allclose(lie_bracket(turn, lie_bracket(drive, turn))(X3), drive(X3), atol=1e-14)
    result = lie_algebra_rank([drive, turn], [0.3, 0.1, 0.7], 3)
    assert result.ranks == (2, 3, 3)
    assert result.step == 2


def test_polynomial_bracket_by_hand():
    # V = x^2 d/dy, W = y^2 d/dx: [V, W] = 2 x^2 y d/dx - 2 x y^2 d/dy
    V = PolynomialField({(0, 0): np.array([0.0, 1.0])}, 2)
    W = PolynomialField({(1, 1): np.array([1.0, 0.0])}, 2)
    terms = lie_bracket(V, W).terms
    assert set(terms) == {(0, 0, 1), (0, 1, 1)}
    assert_array_equal(terms[0, 0, 1], [2, 0])
    assert_array_equal(terms[0, 1, 1], [0, -2])


FAMILIES = [
    LinearFields(),
    AffineFields(),
    PolynomialFields(degree=3),
    UniversalFields(),
    DiagonalFields(),
    NeuralFields("polynomial", rank=None, degree=3),
    NeuralFields("polynomial", rank=2),
    DiagonalFields() | AffineFields(),
    LinearFields() + PolynomialFields(),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f"{type(f).__name__}")
def test_coefficients_and_their_brackets_match_forward_mode(family):
    fields = family.draw(3, 3, rng=0)
    Vs = vector_fields(fields)
    assert all(isinstance(V, PolynomialField) for V in Vs)
    assert_allclose(np.stack([V(X3) for V in Vs], axis=1), fields.value(X3), atol=1e-12)
    V, W = Vs[0], Vs[-1]
    traced = lie_bracket(lambda x: V(x), lambda x: W(x))
    assert_allclose(traced(X3), lie_bracket(V, W)(X3), atol=1e-10)
    nested = lie_bracket(lambda x: V(x), traced)
    assert_allclose(nested(X3), lie_bracket(V, lie_bracket(V, W))(X3), atol=1e-9)


@pytest.mark.parametrize(
    "family",
    [LinearFields(), PolynomialFields(), NeuralFields(), NeuralFields("gelu", rank=None)],
    ids=["linear", "polynomial", "tanh", "gelu"],
)
@pytest.mark.parametrize("seed", range(3))
def test_antisymmetry_and_jacobi(family, seed):
    U, V, W = vector_fields(family.draw(3, 3, rng=seed))
    assert_allclose(lie_bracket(V, W)(X3), -lie_bracket(W, V)(X3), atol=1e-13)
    assert_allclose(lie_bracket(V, V)(X3), 0, atol=1e-14)
    jacobi = [
        lie_bracket(a, lie_bracket(b, c))(X3) for a, b, c in [(U, V, W), (V, W, U), (W, U, V)]
    ]
    assert_allclose(sum(jacobi), 0, atol=1e-12 * max(1, abs(np.array(jacobi)).max()))


def test_basis_counts_are_witts():
    assert [len(b) for b in bracket_basis(2, 6)] == [2, 1, 2, 3, 6, 9]
    assert [len(b) for b in bracket_basis(5, 4)] == [5, 10, 40, 150]


def test_basis_is_independent():
    # generic fields of the plane fulfil no relation among brackets of up to three of them
    result = hormander_rank(
        PolynomialFields(degree=3).draw(2, 2, rng=0), X3[:, :2].repeat(3, 0) * 0 + 1, 2
    )
    assert result.dimension == 24
    X = np.random.default_rng(0).uniform(-1, 1, (8, 2))
    assert hormander_rank(PolynomialFields(degree=3).draw(2, 2, rng=0), X, 4).ranks == (2, 3, 5, 8)


@pytest.mark.parametrize("exact", [False, True])
def test_rank_table_of_the_rotations(exact):
    fields = [rotation(0), rotation(1)]
    # at one point the orbits are spheres; at two points the pairs turn rigidly: so(3) has rank 3
    one = hormander_rank(fields, [[1.0, 2.0, 3.0]], 3, exact=exact)
    assert one.ranks == (2, 2, 2)
    two = hormander_rank(fields, [[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]], 4, exact=exact)
    assert two.ranks == (2, 3, 3, 3)
    assert not two.full
    assert two.step is None


@pytest.mark.parametrize("exact", [False, True])
def test_rank_table_of_the_line(exact):
    # d/dx and x^2 d/dx generate sl(2), {1, x, x^2}: three points of the line and never a fourth
    one, square = np.array([1.0]), {(0, 0): np.array([1.0])}
    fields = [PolynomialField({(): one}, 1), PolynomialField(square, 1)]
    X = np.array([[0.1], [0.4], [0.7], [0.8]])
    assert hormander_rank(fields, X[:3], 3, exact=exact).ranks == (2, 3, 3)
    assert hormander_rank(fields, X, 5, exact=exact).ranks == (2, 3, 3, 3, 3)


def test_affine_fields_move_three_points_of_the_plane():
    # the affine group of the plane has dimension 6: three points in general position, not four
    fields = AffineFields().draw(2, 2, rng=0)
    X = np.random.default_rng(0).random((4, 2))
    assert hormander_rank(fields, X[:3], 4).full
    assert hormander_rank(fields, X, 6).ranks[-1] == 6
    assert hormander_rank(fields, X, 4, exact=True).ranks[-1] == 6


def test_linear_fields_fix_the_origin():
    fields = LinearFields().draw(3, 2, rng=0)
    assert lie_algebra_rank(fields, np.zeros(3), 4).ranks == (0, 0, 0, 0)
    assert lie_algebra_rank(fields, np.ones(3), 4).full


def test_commuting_functions_stay_at_their_rank():
    # mathematically zero brackets are rounding only and must not count
    fields = [
        lambda x: anp.stack([anp.sin(x[:, 0]), 0 * x[:, 1]], axis=1),
        lambda x: anp.stack([0 * x[:, 0], anp.exp(x[:, 1])], axis=1),
    ]
    X = np.random.default_rng(0).random((3, 2))
    assert hormander_rank(fields, X, 4).ranks == (2, 2, 2, 2)


def test_float_and_exact_agree():
    X = np.random.default_rng(3).random((3, 2))
    fields = UniversalFields().draw(2, rng=3)
    assert hormander_rank(fields, X, 3).ranks == hormander_rank(fields, X, 3, exact=True).ranks


def test_neural_fields_and_estimators_and_result():
    fields = NeuralFields().draw(2, 3, rng=0)
    X = np.random.default_rng(0).random((4, 2))
    result = hormander_rank(fields, X, 3)
    assert result.ranks == (3, 6, 8)
    assert result.n_brackets == (3, 6, 14)
    assert [len(s) for s in result.singular_values] == [3, 6, 8]
    fitted = SimpleNamespace(vector_fields_=fields)
    assert hormander_rank(fitted, X, 3).ranks == result.ranks


def test_fitted_estimators():
    X = np.random.default_rng(0).random((20, 2))
    options = {"vector_fields": "linear", "n_fields": 3, "random_state": 0}
    one = ControlledODERegressor(**options, n_members=1).fit(X, X[:, 0])
    expected = hormander_rank(one.vector_fields_, X[:3], 2)
    assert hormander_rank(one, X[:3], 2).ranks == expected.ranks
    several = ControlledODERegressor(**options, n_members=2).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="The estimator has 2 members"):
        hormander_rank(several, X[:3], 2)
    assert hormander_rank(several.vector_fields_[0], X[:3], 2).ranks[0] == 3


def test_coinciding_points_never_reach_full_rank():
    X = np.array([[0.2, 0.3], [0.2, 0.3], [0.5, 0.1]])
    assert hormander_rank(UniversalFields().draw(2, rng=0), X, 4).ranks[-1] == 4


@pytest.mark.parametrize(
    ("m", "degree"),
    [(2, 6), (3, 3), *[pytest.param(*c, marks=pytest.mark.slow) for c in [(3, 5), (5, 2)]]],
)
def test_universal_fields_generate_all_polynomials(m, degree):
    for seed in range(3):
        assert generates_polynomials(UniversalFields().draw(m, rng=seed), degree).complete


def test_the_construction_proves_its_draw():
    assert generates_polynomials(universal_fields(3, degree=2, random_state=7), 2).complete
    with pytest.raises(ValueError, match="does not generate all polynomial fields up to degree 1"):
        universal_fields(3, degree=1, scale=0.0)
    with pytest.raises(ValueError, match="degree=-1"):
        universal_fields(3, degree=-1)


def test_linear_fields_do_not_generate_all_polynomials():
    result = generates_polynomials(LinearFields().draw(3, 2, rng=0), 2)
    assert result.dimensions == (0, 9, 0)
    assert result.expected == (3, 9, 18)
    assert not result.complete


def test_rational_coefficients_stay_rational():
    V, W = (V.rational() for V in vector_fields(UniversalFields().draw(2, rng=0))[3:])
    assert all(isinstance(v, Fraction) for c in lie_bracket(V, W).terms.values() for v in c)


def test_errors():
    fields = UniversalFields().draw(2, rng=0)
    with pytest.raises(ValueError, match="depth=0"):
        hormander_rank(fields, np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="the points in R"):
        hormander_rank(fields, np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match="exact=True needs polynomial"):
        hormander_rank(NeuralFields().draw(2, 3, rng=0), np.zeros((1, 2)), 1, exact=True)
    with pytest.raises(ValueError, match="one point of shape"):
        lie_algebra_rank(fields, np.zeros((1, 2)), 1)
    with pytest.raises(ValueError, match="Expected one field, got 5"):
        lie_bracket(fields, fields)
    with pytest.raises(ValueError, match="have no bracket"):
        lie_bracket(np.eye(2), np.eye(3))
    with pytest.raises(TypeError, match="vector field"):
        lie_bracket(1.0, fields)
    with pytest.raises(ValueError, match="at least one vector field"):
        hormander_rank([], np.zeros((1, 2)), 1)
    with pytest.raises(ValueError, match="finite points"):
        hormander_rank(fields, [[np.nan, 0.0]], 1)
    with pytest.raises(TypeError, match="fields must be"):
        vector_fields(3)
    with pytest.raises(ValueError, match="not a homogeneous polynomial"):
        generates_polynomials(AffineFields().draw(2, 2, rng=0), 2)


@pytest.mark.parametrize("value", [1.5, "2", None, True, np.nan])
def test_what_is_no_integer_is_named(value):
    fields, X = UniversalFields().draw(2, rng=0), np.zeros((2, 2))
    for of_depth in (
        lambda: hormander_rank(fields, X, value),
        lambda: lie_algebra_rank(fields, X[0], depth=value),
        lambda: bracket_basis(2, value),
    ):
        with pytest.raises(TypeError, match="^depth=.* must be an integer"):
            of_depth()
    with pytest.raises(TypeError, match="^n_letters=.* must be an integer"):
        bracket_basis(value, 2)
    with pytest.raises(TypeError, match="^degree=.* must be an integer"):
        generates_polynomials(fields, value)
    with pytest.raises(TypeError, match="^n_intervals=.* must be an integer|^max_loops=.* must be"):
        interpolate(fields, X, X, n_intervals=value, max_loops=value)
    # integers of NumPy are integers
    assert len(bracket_basis(np.int64(2), np.int32(2))) == 2


@pytest.mark.parametrize("tol", [-1.0, np.nan, np.inf])
def test_a_tolerance_that_is_none_is_named(tol):
    """With a negative one every bracket counted, and with NaN none did, in silence."""
    fields, X = UniversalFields().draw(2, rng=0), np.zeros((1, 2))
    with pytest.raises(ValueError, match="^tol=.* must be at least zero and finite"):
        hormander_rank(fields, X, 2, tol=tol)
    with pytest.raises(TypeError, match="^tol='a' must be a number"):
        hormander_rank(fields, X, 2, tol="a")
    assert hormander_rank(fields, X, 2, tol=0).tolerances == (0, 0)
