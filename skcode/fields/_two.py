"""Two explicit fields that suffice for any number of points."""

from __future__ import annotations

import numpy as np

from skcode.fields._family import FieldFamily
from skcode.fields._polynomial import DrawnPolynomial, Monomials
from skcode.utils._typing import FloatArray


class TwoFields(FieldFamily):
    r"""Two fields that interpolate any number of points: one constant, one cubic.

    .. math::
        V_1 = e_m, \qquad V_2(x) = \sum_{j < m} \big((x^j)^2 - (x^{j+1})^2\big)
        \big(x^j e_{j+1} - x^{j+1} e_j\big)

    Grong and Vega-Molino [1]_ proved that one constant field and one explicit polynomial field of
    degree three steer any number of distinct points to any others, for every :math:`m \ge 2`. The
    cubic field here is not theirs but a choice of skcode: rotations in the planes of neighbouring
    coordinates, at speeds that depend on the point. It is tangent to the spheres around the origin,
    so that no control makes a point explode, and its brackets are well conditioned.

    Why they suffice: a bracket with a constant field is a derivative. Those of :math:`V_2` along
    :math:`e_m` lead to :math:`e_{m-1}`, from there to all constant fields, and derivatives along
    these to linear and quadratic ones. Once all fields of degree two are reached, so are the five
    of `UniversalFields`, which generate all polynomials [2]_. For a given m
    `skcode.geometry.generates_polynomials` proves that they are reached; for m from 2 to 4 a test
    of skcode does so.

    Two fields have few brackets, and points are steered by deep ones: paths are long. Take more
    fields where their number is not the point.

    References
    ----------
    .. [1] E. Grong, S. Vega-Molino, "Controllability on landmark manifolds for shapes and neural
       ODEs", arXiv:2403.08090v3.
    .. [2] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    Five points in the plane are ten coordinates. Two letters have 2, 1, 2, 3 and 6 brackets of one
    to five letters, and at depth five these span all ten dimensions:

    >>> import numpy as np
    >>> from skcode.fields import TwoFields
    >>> from skcode.geometry import generates_polynomials, hormander_rank
    >>> fields = TwoFields().draw(n_states=2)
    >>> fields.value(np.array([[2.0, 1.0]]))
    array([[[ 0.,  1.],
            [-3.,  6.]]])
    >>> generates_polynomials(fields, degree=2).complete
    True
    >>> X = np.random.default_rng(0).random((5, 2))
    >>> hormander_rank(fields, X, depth=5).ranks
    (2, 3, 5, 8, 10)
    """

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return 2

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
            raise ValueError(f"TwoFields needs n_states >= 2; got {m}.")
        # the cubes of all coordinates and the products of neighbours, after their divisors
        neighbours = [(j, j + 1) for j in range(m - 1)]
        cubes = [(j, j, j) for j in range(m)]
        mixed = [alpha for j, k in neighbours for alpha in ((j, j, k), (j, k, k))]
        quadratic = sorted({alpha[:2] for alpha in cubes + mixed})
        monomials = Monomials([(), *[(j,) for j in range(m)], *quadratic, *cubes, *mixed], m)
        row = {alpha: i for i, alpha in enumerate(monomials.exponents)}
        c = np.zeros((2, m, len(monomials)))
        c[0, -1, 0] = 1
        for j, k in neighbours:
            # (x_j^2 - x_k^2) (x_j e_k - x_k e_j)
            c[1, k, row[j, j, j]] += 1
            c[1, k, row[j, k, k]] -= 1
            c[1, j, row[j, j, k]] -= 1
            c[1, j, row[k, k, k]] += 1
        return DrawnPolynomial(c, monomials, "two")
