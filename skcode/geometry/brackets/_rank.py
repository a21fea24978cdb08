"""Rank of the iterated Lie brackets at points: the Hoermander condition, computed by depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import svdvals

from skcode.geometry._checks import check_count, check_tolerance
from skcode.geometry.brackets._bracket import lie_bracket
from skcode.geometry.brackets._lyndon import Bracket, bracket_basis
from skcode.geometry.brackets._vector_field import (
    BracketField,
    FieldsLike,
    PolynomialField,
    VectorField,
    all_polynomial,
    vector_fields,
)
from skcode.utils._typing import FloatArray, Traced

#: machine epsilons that each entry of a column is off by, for each level of brackets: a few sums
#: and products. Fewer count rounding as rank, many hide weak brackets
_ROUNDINGS = 8


@dataclass(frozen=True)
class RankResult:
    """Rank of the brackets at given points, by depth.

    Attributes
    ----------
    ranks : tuple of int
        ``ranks[k]`` is the dimension of the span of the brackets of up to k + 1 fields.
    dimension : int
        What the rank can reach: N m.
    n_brackets : tuple of int
        Number of brackets of up to k + 1 fields that were evaluated. Once the rank is full no
        deeper ones are.
    singular_values : tuple of ndarray
        Singular values of the matrix of brackets of up to k + 1 fields, each column in units of
        the terms whose difference it is; one array for each depth that was evaluated. Empty in
        exact arithmetic.
    tolerances : tuple of float
        What rounding alone can do to these singular values; smaller ones count as zero.
    exact : bool
        Whether the arithmetic was rational.

    Examples
    --------
    >>> from skcode.fields import UniversalFields
    >>> from skcode.geometry import lie_algebra_rank
    >>> result = lie_algebra_rank(UniversalFields().draw(n_states=3, rng=0), [0.1, 0.2, 0.3], 2)
    >>> result.full, result.step
    (True, 1)
    """

    ranks: tuple[int, ...]
    dimension: int
    n_brackets: tuple[int, ...]
    singular_values: tuple[FloatArray, ...]
    tolerances: tuple[float, ...]
    exact: bool

    @property
    def full(self) -> bool:
        """Whether the brackets span the whole space: the Hoermander condition."""
        return self.ranks[-1] == self.dimension

    @property
    def step(self) -> int | None:
        """The smallest depth of full rank, or None."""
        return self.ranks.index(self.dimension) + 1 if self.full else None


def lie_algebra_rank(
    fields: FieldsLike, x: ArrayLike, depth: int, *, exact: bool = False, tol: float | None = None
) -> RankResult:
    r"""Dimension of :math:`\mathrm{Lie}(V_1, \dots, V_d)|_x`, by depth of the brackets.

    By the theorem of Chow and Rashevskii, full rank m at every point of a connected set makes
    every point of it reachable from every other.

    Parameters
    ----------
    fields : DrawnFields, fitted estimator, or sequence of vector fields
        Drawn fields, an estimator with ``vector_fields_``, or fields, matrices and callables.
    x : array of shape (m,)
        The point.
    depth : int
        Largest number of fields in a bracket.
    exact : bool
        Whether to compute in rational numbers, as in `hormander_rank`.
    tol : float or None
        Tolerance on the singular values, as in `hormander_rank`.

    Returns
    -------
    RankResult
        With ``dimension`` m.

    Raises
    ------
    ValueError, TypeError
        As in `hormander_rank`.

    References
    ----------
    .. [1] W.-L. Chow, "Ueber Systeme von linearen partiellen Differentialgleichungen erster
       Ordnung", Math. Ann. 117, 1939.

    Examples
    --------
    The unicycle drives and turns; its bracket parks it sideways:

    >>> import autograd.numpy as np
    >>> from skcode.geometry import lie_algebra_rank
    >>> def drive(x):
    ...     return np.stack([np.cos(x[:, 2]), np.sin(x[:, 2]), 0.0 * x[:, 2]], axis=1)
    >>> def turn(x):
    ...     return 0.0 * x + np.array([0.0, 0.0, 1.0])
    >>> lie_algebra_rank([drive, turn], np.zeros(3), depth=2).ranks
    (2, 3)
    """
    x = np.asarray(x)
    if x.ndim != 1:
        raise ValueError(f"x must be one point of shape (m,); got shape {x.shape}.")
    return hormander_rank(fields, x[None], depth, exact=exact, tol=tol)


def hormander_rank(
    fields: FieldsLike, X: ArrayLike, depth: int, *, exact: bool = False, tol: float | None = None
) -> RankResult:
    r"""Rank of the brackets of the stacked system at N points, by depth.

    The N-point system moves :math:`(x_1, \dots, x_N)` by the same controls; its brackets are those
    of :math:`V_1, \dots, V_d`, stacked over the points. Full rank N m is the N-point Hoermander
    condition, under which the points can be steered all at once.

    Brackets run through the Lyndon basis of the free Lie algebra: each once, none that
    antisymmetry or the Jacobi identity imply. Each column of the matrix is divided by the size of
    the terms that cancel in its bracket, so that rounding is worth one machine epsilon in every
    column and the tolerance is what rounding alone can do.

    Parameters
    ----------
    fields : DrawnFields, fitted estimator, or sequence of vector fields
        Drawn fields, an estimator with ``vector_fields_``, or fields, matrices and callables.
    X : array of shape (N, m)
        The points.
    depth : int
        Largest number of fields in a bracket.
    exact : bool
        Whether to compute in rational numbers (polynomial fields only): slower, and certain for
        the given floating-point coefficients and points.
    tol : float or None
        Tolerance on the singular values; None stands for ``8 depth eps sqrt(rows columns)``.

    Returns
    -------
    RankResult
        Ranks by depth, singular values and tolerances.

    Raises
    ------
    ValueError
        If the shape of X does not fit the fields, depth < 1, tol is negative or not finite, or
        exact arithmetic is asked of fields that are not polynomial.
    TypeError
        If the fields are not vector fields, depth is no integer or tol no number.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    Flows of the line keep the order of points, yet two polynomial fields give full rank at two
    points: for m = 1 the distinct pairs are not connected, which no rank can tell.

    >>> import numpy as np
    >>> from skcode.fields import UniversalFields
    >>> from skcode.geometry import hormander_rank
    >>> fields = UniversalFields().draw(n_states=2, rng=0)
    >>> X = np.array([[0.1, 0.2], [0.7, 0.4], [0.3, 0.9]])
    >>> hormander_rank(fields, X, depth=3).ranks
    (5, 6, 6)
    """
    Vs = vector_fields(fields)
    X = np.atleast_2d(np.asarray(X, dtype=float))
    _check(Vs, X, depth, exact, tol)
    basis = bracket_basis(len(Vs), depth)
    if exact and all_polynomial(Vs):
        return _exact_ranks(Vs, X, basis)
    columns: list[FloatArray] = []
    ranks: list[int] = []
    counts, values, tolerances = [], [], []
    evaluate = _Polynomials(Vs, X) if all_polynomial(Vs) else _Functions(Vs, X)
    for k, brackets in enumerate(basis):
        if not ranks or ranks[-1] < X.size:
            columns += [evaluate(bracket) for bracket in brackets]
            matrix = np.stack(columns, axis=1)
            values.append(svdvals(matrix))
            eps = np.finfo(float).eps
            noise = _ROUNDINGS * (k + 1) * eps * np.sqrt(matrix.size)
            tolerances.append(noise if tol is None else tol)
            ranks.append(int(np.sum(values[-1] > tolerances[-1])))
        else:
            ranks.append(ranks[-1])
        counts.append(len(columns))
    return RankResult(
        tuple(ranks), X.size, tuple(counts), tuple(values), tuple(tolerances), exact=False
    )


def _check(
    Vs: list[VectorField], X: FloatArray, depth: int, exact: bool, tol: float | None
) -> None:
    check_count(depth, "depth")
    if tol is not None:
        check_tolerance(tol, "tol", zero=True)
    if X.ndim != 2 or not np.isfinite(X).all():
        raise ValueError(f"X must hold finite points, shape (N, m); got shape {X.shape}.")
    for i, V in enumerate(Vs):
        m = V.n_states if isinstance(V, PolynomialField) else np.shape(V(X))[1]
        if m != X.shape[1]:
            raise ValueError(f"Field {i} lives on R^{m}, the points in R^{X.shape[1]}.")
    if exact and not all_polynomial(Vs):
        raise ValueError("exact=True needs polynomial fields (linear and affine ones are).")


class _Polynomials:
    """Columns of the matrix for polynomial fields.

    The unit of a column is the same bracket with all coefficients and coordinates made positive
    and all differences made sums: a bound on what rounding can do, up to a small factor.
    """

    def __init__(self, Vs: list[PolynomialField], X: FloatArray):
        self.X = X
        self.cache: dict[Bracket, tuple[PolynomialField, PolynomialField]] = {
            i: (V, V.absolute()) for i, V in enumerate(Vs)
        }
        self.monomials: dict[tuple[int, ...], FloatArray] = {(): np.ones(len(X))}

    def __call__(self, bracket: Bracket) -> FloatArray:
        field, bound = self._fields(bracket)
        unit = np.max(self._evaluate(bound, absolute=True), initial=0)
        return self._evaluate(field).ravel() / (unit or 1.0)

    def _fields(self, bracket: Bracket) -> tuple[PolynomialField, PolynomialField]:
        if bracket not in self.cache:
            assert isinstance(bracket, tuple)
            V, bound_v = self._fields(bracket[0])
            W, bound_w = self._fields(bracket[1])
            bound = bound_w.derivative_along(bound_v) + bound_v.derivative_along(bound_w)
            self.cache[bracket] = lie_bracket(V, W), bound
        return self.cache[bracket]

    def _evaluate(self, field: PolynomialField, absolute: bool = False) -> FloatArray:
        value = np.zeros_like(self.X)
        for alpha, c in field.terms.items():
            phi = self._monomial(alpha)
            value += np.outer(abs(phi) if absolute else phi, c)
        return value

    def _monomial(self, alpha: tuple[int, ...]) -> FloatArray:
        if alpha not in self.monomials:
            self.monomials[alpha] = self._monomial(alpha[:-1]) * self.X[:, alpha[-1]]
        return self.monomials[alpha]


class _Functions:
    """Columns of the matrix for fields that are functions.

    The unit of a bracket is the largest of the terms that its last difference subtracts and of the
    product of the units of its parts, the unit of a field being its size.
    """

    def __init__(self, Vs: list[VectorField], X: FloatArray):
        self.Vs = Vs
        self.X = X
        self.units: dict[Bracket, float] = {
            i: float(np.max(abs(V(X)), initial=0)) for i, V in enumerate(Vs)
        }

    def __call__(self, bracket: Bracket) -> FloatArray:
        field = self._field(bracket)
        value: FloatArray
        terms: Sequence[Traced]
        if isinstance(bracket, int):
            value, terms = field(self.X), [0.0]
        else:
            terms = field.parts(self.X) if isinstance(field, BracketField) else [field(self.X)]
            value = terms[0] - terms[1] if len(terms) == 2 else terms[0]
        unit = max(self._unit(bracket), *(float(np.max(abs(t), initial=0)) for t in terms))
        self.units[bracket] = unit
        return value.ravel() / (unit or 1.0)

    def _unit(self, bracket: Bracket) -> float:
        if bracket not in self.units:
            assert isinstance(bracket, tuple)
            self.units[bracket] = self._unit(bracket[0]) * self._unit(bracket[1])
        return self.units[bracket]

    def _field(self, bracket: Bracket) -> VectorField:
        if isinstance(bracket, int):
            return self.Vs[bracket]
        return lie_bracket(self._field(bracket[0]), self._field(bracket[1]))


def _exact_ranks(
    Vs: list[PolynomialField], X: FloatArray, basis: list[list[Bracket]]
) -> RankResult:
    """Ranks by Gaussian elimination in fractions, one bracket after the other."""
    cache: dict[Bracket, PolynomialField] = {i: V.rational() for i, V in enumerate(Vs)}
    points = [[Fraction(v) for v in x] for x in X]
    rows: dict[int, list[Fraction]] = {}
    ranks, counts, count = [], [], 0

    def field(bracket: Bracket) -> PolynomialField:
        if bracket not in cache:
            assert isinstance(bracket, tuple)
            cache[bracket] = lie_bracket(field(bracket[0]), field(bracket[1]))
        return cache[bracket]

    for brackets in basis:
        for bracket in brackets:
            if len(rows) == X.size:
                break
            count += 1
            _eliminate(list(_exact_values(field(bracket), points)), rows)
        ranks.append(len(rows))
        counts.append(count)
    return RankResult(tuple(ranks), X.size, tuple(counts), (), (), exact=True)


def _exact_values(V: PolynomialField, points: list[list[Fraction]]) -> Iterator[Fraction]:
    for x in points:
        value = [Fraction(0)] * V.n_states
        for alpha, c in V.terms.items():
            phi = Fraction(1)
            for j in alpha:
                phi *= x[j]
            value = [v + phi * cj for v, cj in zip(value, c, strict=True)]
        yield from value


def _eliminate(v: list[Fraction], rows: dict[int, list[Fraction]]) -> None:
    """Reduce v by the rows, which are keyed by their pivots; keep what is left of it as a row."""
    for pivot in range(len(v)):
        if v[pivot] == 0:
            continue
        if pivot not in rows:
            rows[pivot] = [a / v[pivot] for a in v]
            return
        factor = v[pivot]
        v = [a - factor * b for a, b in zip(v, rows[pivot], strict=True)]
