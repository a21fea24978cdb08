"""Lie brackets of vector fields."""

from __future__ import annotations

from typing import overload

from skcode.geometry.brackets._vector_field import (
    BracketField,
    FieldLike,
    PolynomialField,
    VectorField,
    as_vector_field,
)


@overload
def lie_bracket(V: PolynomialField, W: PolynomialField) -> PolynomialField: ...
@overload
def lie_bracket(V: FieldLike, W: FieldLike) -> VectorField: ...
def lie_bracket(V: FieldLike, W: FieldLike) -> VectorField:
    r"""Lie bracket :math:`[V, W](x) = DW(x)\,V(x) - DV(x)\,W(x)` of two vector fields.

    Two polynomial fields (constant, linear, affine, of any degree) give a polynomial field, exact
    in its coefficients; all others are differentiated by nested forward mode.

    For :math:`V = Ax` and :math:`W = Bx` the bracket is :math:`(BA - AB)x`. Texts that write
    :math:`(AB - BA)x`, the lecture among them, use the other sign; then
    :math:`e^{-tA}e^{-tB}e^{tA}e^{tB}x = x + t^2 (AB - BA)x + O(t^3)` moves along
    :math:`-[V, W] = [W, V]` in the convention of this function.

    Parameters
    ----------
    V, W : vector field
        A `VectorField`, a callable of rows (N, m) written in ``autograd.numpy``, a square matrix
        (a linear field), or drawn fields with a single field.

    Returns
    -------
    VectorField
        A callable of rows (N, m); a `PolynomialField` with ``terms`` where both are polynomial.

    Raises
    ------
    ValueError
        If the fields live in spaces of different dimensions, or drawn fields hold more than one.
    TypeError
        If an argument is not a vector field.

    References
    ----------
    .. [1] A. Agrachev, Y. Sachkov, "Control Theory from the Geometric Viewpoint", Springer, 2004,
       section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.geometry import lie_bracket
    >>> A, B = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> lie_bracket(A, B)(np.eye(2))
    array([[-1.,  0.],
           [ 0.,  1.]])
    >>> ((B @ A - A @ B) @ np.eye(2)).T
    array([[-1.,  0.],
           [ 0.,  1.]])
    """
    V, W = as_vector_field(V), as_vector_field(W)
    if isinstance(V, PolynomialField) and isinstance(W, PolynomialField):
        if V.n_states != W.n_states:
            raise ValueError(f"Fields on R^{V.n_states} and R^{W.n_states} have no bracket.")
        return W.derivative_along(V) - V.derivative_along(W)
    return BracketField(V, W)
