"""Fields that are linear in coefficients over monomials: polynomial, affine, linear, universal.

The controls are contracted with the coefficients first, C_u = sum_i u^i c_i, so that a step costs
the same for five fields and for fifty.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from numbers import Integral, Real

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike

from skcode.fields._drawn import DrawnFields, FieldKernel
from skcode.fields._family import FieldFamily
from skcode.utils._sklearn import Interval
from skcode.utils._typing import FloatArray, Traced


class Monomials:
    """A list of monomials x^alpha in m variables, each a product of an earlier one and a variable.

    Row j of the table is row ``parent[j]`` times x_{variable[j]}; row 0 is the constant 1.

    Parameters
    ----------
    exponents : list of tuple
        Sorted tuples of variable indices: () is 1, (0, 0, 2) is x_0^2 x_2. The list starts with ()
        and holds, before a monomial, also its divisors.
    n_states : int
        The number m of variables.

    Raises
    ------
    ValueError
        If a divisor is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Monomials
    >>> monomials = Monomials.up_to(degree=2, n_states=2)
    >>> monomials.exponents
    [(), (0,), (1,), (0, 0), (0, 1), (1, 1)]
    >>> monomials.evaluate(np.array([[2.0, 3.0]]))
    array([[1., 2., 3., 4., 6., 9.]])
    """

    def __init__(self, exponents: list[tuple[int, ...]], n_states: int):
        index = {alpha: j for j, alpha in enumerate(exponents)}
        # d x^alpha / d x_j = alpha_j x^(alpha - e_j)
        quotients = [
            (row, j, alpha.count(j), index.get(self.quotient(alpha, j), row))
            for row, alpha in enumerate(exponents)
            for j in sorted(set(alpha))
        ]
        if not exponents or exponents[0] or any(to >= row for row, *_, to in quotients):
            raise ValueError("The monomials must start with (), and follow their divisors.")
        table = np.array(quotients, dtype=int).reshape(-1, 4).T
        self._of, self._by, self._power, self._quotient = table
        #: derivatives need the monomials in the rows below this one alone
        self.n_quotients = int(self._quotient.max(initial=0)) + 1
        self.exponents = exponents
        self.n_states = n_states
        self.parent = np.array([index[alpha[:-1]] if alpha else 0 for alpha in exponents])
        self.variable = np.array([alpha[-1] if alpha else 0 for alpha in exponents], dtype=int)
        degrees = np.array([len(alpha) for alpha in exponents])
        #: rows of each degree from 1 on, as contiguous slices: one vectorised product a degree
        self.levels = [
            slice(int(np.searchsorted(degrees, k)), int(np.searchsorted(degrees, k, "right")))
            for k in range(1, degrees[-1] + 1)
        ]

    @classmethod
    def up_to(cls, degree: int, n_states: int) -> Monomials:
        """All monomials up to a degree: C(m + degree, degree) of them."""
        return cls(
            [
                alpha
                for k in range(degree + 1)
                for alpha in combinations_with_replacement(range(n_states), k)
            ],
            n_states,
        )

    @staticmethod
    def quotient(alpha: tuple[int, ...], j: int) -> tuple[int, ...]:
        """The exponents of x^alpha / x_j, for a variable that x^alpha contains."""
        k = alpha.index(j)
        return alpha[:k] + alpha[k + 1 :]

    def __len__(self) -> int:
        return len(self.exponents)

    def evaluate(self, x: Traced) -> Traced:
        """Values for rows x (N, m) as (N, D), traceable by autograd."""
        table = [anp.ones_like(x[:, :1])]
        previous_start = 0
        for level in self.levels:
            parents = self.parent[level] - previous_start
            table.append(table[-1][:, parents] * x[:, self.variable[level]])
            previous_start = level.start
        return anp.concatenate(table, axis=1)

    def fill(self, x: FloatArray, phi: FloatArray) -> None:
        """Compute phi (D, n) from x (m + 1, n)."""
        phi[0] = 1
        for level in self.levels:
            # mode "clip" lets NumPy write to `out` without a copy on the way
            np.take(x, self.variable[level], axis=0, out=phi[level], mode="clip")
            phi[level] *= phi.take(self.parent[level], axis=0, mode="clip")

    def slopes(self, c: FloatArray) -> FloatArray:
        """Coefficients (q, m, n_quotients) of the derivatives of c phi for c (q, D)."""
        slopes = np.zeros((len(c), self.n_states, self.n_quotients), c.dtype)
        slopes[:, self._by, self._quotient] = c[:, self._of] * self._power.astype(c.dtype)
        return slopes

    def pushforward(self, x: FloatArray, phi: FloatArray, dx: FloatArray, dphi: FloatArray) -> None:
        """dphi = (d phi / d x) dx."""
        dphi[0] = 0
        for level in self.levels:
            parent, variable = self.parent[level], self.variable[level]
            dphi[level] = dphi[parent] * x[variable] + phi[parent] * dx[variable]


class DrawnPolynomial(DrawnFields):
    """Drawn fields V_i(x) = c_i phi(x) over monomials phi.

    Parameters
    ----------
    coefficients : ndarray of shape (d, m, D)
        The coefficients c_i.
    monomials : Monomials
        The D monomials.
    name : str
        Prefix of the labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Monomials, DrawnPolynomial
    >>> square = DrawnPolynomial(np.array([[[0.0, 0.0, 1.0]]]), Monomials.up_to(2, n_states=1))
    >>> square.value(np.array([[3.0]]))
    array([[[9.]]])
    """

    def __init__(self, coefficients: FloatArray, monomials: Monomials, name: str = "polynomial"):
        self.coefficients = coefficients
        self.monomials = monomials
        self.name = name
        self.n_fields, self.n_states, _ = coefficients.shape

    @property
    def labels(self) -> list[str]:
        return [f"{self.name}[{i}]" for i in range(self.n_fields)]

    @property
    def tape_width(self) -> int:
        return len(self.monomials)

    def value(self, x: Traced) -> Traced:
        d, m, D = self.coefficients.shape
        flat = anp.dot(self.monomials.evaluate(x), self.coefficients.reshape(d * m, D).T)
        return anp.reshape(flat, (-1, d, m))

    def astype(self, dtype: DTypeLike) -> DrawnPolynomial:
        return DrawnPolynomial(self.coefficients.astype(dtype), self.monomials, self.name)

    def bind(self, u: FloatArray) -> FloatArray:
        d, m, D = self.coefficients.shape
        return (u @ self.coefficients.reshape(d, -1)).reshape(m, D)

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _PolynomialKernel:
        return _PolynomialKernel(self, n, dtype, lead)


class _PolynomialKernel(FieldKernel[FloatArray, FloatArray]):
    def __init__(self, fields: DrawnPolynomial, n: int, dtype: DTypeLike, lead: tuple[int, ...]):
        self.fields = fields
        self.monomials = fields.monomials
        self.dtype = dtype
        self.n = n
        self.derivatives = np.empty((fields.n_states**2, n), dtype)

    def new_tape(self) -> FloatArray:
        return np.empty((len(self.monomials), self.n), self.dtype)

    def forward(self, bound: FloatArray, x: FloatArray, v: FloatArray, tape: FloatArray) -> None:
        self.monomials.fill(x, tape)
        np.matmul(bound, tape, out=v)

    def pullback(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: FloatArray,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        # 6 times as fast as the default (degree 3): one product in place of d
        c = self.fields.coefficients
        u_bar += c.reshape(len(c), -1) @ (p @ tape.T).reshape(-1)
        if x_bar is not None:
            self._pull_state(bound, x, tape, p, x_bar)

    def rows(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: FloatArray,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        d, m, D = self.fields.coefficients.shape
        values = (self.fields.coefficients.reshape(d * m, D) @ tape).reshape(d, m, -1)
        np.einsum("imn,...mn->...in", values, p, out=u_rows)
        if x_bar is not None:
            self._pull_state(bound, x, tape, p, x_bar)

    def _pull_state(
        self, bound: FloatArray, x: FloatArray, tape: FloatArray, p: FloatArray, x_bar: FloatArray
    ) -> None:
        # all derivatives in one product with the monomials of lower degree
        slopes = self.monomials.slopes(bound)
        low = tape[: self.monomials.n_quotients]
        m = len(bound)
        derivatives = np.matmul(slopes.reshape(m * m, -1), low, out=self.derivatives)
        np.einsum("ijn,...in->...jn", derivatives.reshape(m, m, -1), p, out=x_bar)

    def pushforward(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: FloatArray,
        dx: FloatArray,
        bound_du: FloatArray,
        dv: FloatArray,
    ) -> None:
        dphi = np.empty_like(tape)
        self.monomials.pushforward(x, tape, dx, dphi)
        np.matmul(bound, dphi, out=dv)
        dv += bound_du @ tape


class PolynomialFields(FieldFamily):
    r"""Random polynomial fields :math:`V_i^j(x) = \sum_{|\alpha| \le k} c^j_{i,\alpha} x^\alpha`.

    The coefficients are independent and normal: a law with a density, as the theorem on generic
    interpolation asks [1]_. A field has :math:`D_k = m \binom{m + k}{m}` of them.

    Parameters
    ----------
    degree : int
        The degree k.
    scale : float
        The coefficients have standard deviation ``scale / sqrt(number of monomials)``.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> from skcode.fields import PolynomialFields
    >>> PolynomialFields(degree=3).draw(n_states=2, n_fields=5, rng=0).coefficients.shape
    (5, 2, 10)
    """

    #: largest number of coefficients that is drawn, 800 MB in float64: more would not fit a small
    #: machine. Degree 3 in 100 states has 18 million for each field
    _most_coefficients = 10**8

    _parameter_constraints = {
        "degree": [Interval(Integral, 1, None, closed="left")],
        "scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, degree: int = 2, scale: float = 1.0):
        self.degree = degree
        self.scale = scale

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnPolynomial:
        n_monomials = 1
        for k in range(1, self.degree + 1):
            n_monomials = n_monomials * (n_states + k) // k
        if n_fields * n_states * n_monomials > self._most_coefficients:
            raise ValueError(
                f"degree={self.degree} in {n_states} states needs {n_monomials} monomials for each "
                "coordinate: lower degree, reduce the features or use NeuralFields."
            )
        monomials = Monomials.up_to(self.degree, n_states)
        c = rng.standard_normal((n_fields, n_states, n_monomials))
        return DrawnPolynomial(c * (self.scale / np.sqrt(n_monomials)), monomials)


class UniversalFields(FieldFamily):
    r"""The five fields of the universal interpolation theorem.

    .. math:: V_1 = A x,\; V_2 = B x,\; V_3 = e_m,\; V_4 = (x^m)^2 e_1,\; V_5 = x^m x

    They are those of [1]_, with traceless matrices A and B that are drawn at random: two generic
    traceless matrices generate all of sl(m), and with the other three fields all polynomial fields.

    Parameters
    ----------
    scale : float
        A and B have entries of standard deviation ``scale / sqrt(m)``.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import UniversalFields
    >>> fields = UniversalFields().draw(n_states=3, rng=0)
    >>> fields.value(np.array([[1.0, 2.0, 3.0]]))[0, 2:]
    array([[0., 0., 1.],
           [9., 0., 0.],
           [3., 6., 9.]])
    """

    _parameter_constraints = {
        "scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return 5

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnPolynomial:
        m = n_states
        if m < 2:
            raise ValueError(f"UniversalFields needs n_states >= 2; got {m}.")
        last = m - 1
        products = [tuple(sorted((j, last))) for j in range(m)]
        monomials = Monomials([(), *[(j,) for j in range(m)], *products], m)
        c = np.zeros((5, m, 2 * m + 1))
        for i in range(2):
            M = rng.standard_normal((m, m)) * (self.scale / np.sqrt(m))
            c[i, :, 1 : m + 1] = M - np.trace(M) / m * np.eye(m)
        c[2, last, 0] = 1
        c[3, 0, m + 1 + last] = 1
        c[4, np.arange(m), m + 1 + np.arange(m)] = 1
        return DrawnPolynomial(c, monomials, "universal")
