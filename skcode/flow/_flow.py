"""The flow of a controlled ODE as one autograd primitive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
from autograd.extend import defjvp_argnums, defvjp_argnums
from autograd.tracer import isbox
from numpy.typing import ArrayLike

from skcode.fields import DrawnFields
from skcode.flow._sweep import Sweep
from skcode.flow._tableau import Tableau, get_tableau
from skcode.utils._tracing import paused, primitive
from skcode.utils._typing import FloatArray, Traced


def flow(
    fields: DrawnFields,
    x: Traced,
    controls: Traced,
    integrator: str | Tableau = "euler",
    n_steps: int = 1,
) -> Traced:
    r"""Flow of :math:`dX_t = \sum_i u^i_t V_i(X_t)\,dt` over [0, 1], by the discrete scheme.

    An autograd primitive in ``x`` and ``controls``, with reverse mode (one exact adjoint sweep for
    both) and forward mode (one tangent sweep). It differentiates once; for higher derivatives trace
    ``fields.value``.

    Parameters
    ----------
    fields : DrawnFields
        Drawn fields on R^m.
    x : array of shape (N, m)
        Initial states, one sample a row.
    controls : array of shape (M, d)
        Values of the controls on M intervals of length 1 / M.
    integrator : {"euler", "midpoint", "heun", "rk4"} or Tableau
        The scheme.
    n_steps : int
        Steps in each interval, of size h = 1 / (M n_steps).

    Returns
    -------
    ndarray of shape (N, m)
        The states at time 1.

    Raises
    ------
    ValueError
        If the shapes do not fit the fields, or the integrator is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import flow
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> flow(fields, np.eye(2), np.zeros((4, 3)))
    array([[1., 0.],
           [0., 1.]])
    """
    _check(fields, x, controls, n_steps)
    x, controls = (z if isbox(z) else as_float(z) for z in (x, controls))
    sweep = Sweep(
        fields,
        get_tableau(integrator),
        len(controls),
        n_steps,
        np.shape(x)[0],
        np.result_type(x.dtype, np.float32),
    )
    return sweep_flow(controls, x, sweep)


def _check(fields: DrawnFields, x: ArrayLike, controls: ArrayLike, n_steps: int) -> None:
    if not isinstance(n_steps, Integral) or n_steps < 1:
        raise ValueError(f"n_steps={n_steps} must be a whole number, at least 1.")
    if np.ndim(x) != 2 or np.shape(x)[1] != fields.n_states:
        raise ValueError(f"x must have shape (N, {fields.n_states}); got {np.shape(x)}.")
    shape = np.shape(controls)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != fields.n_fields:
        raise ValueError(f"controls must have shape (M, {fields.n_fields}); got {shape}.")


def as_float(x: ArrayLike) -> FloatArray:
    """An array of floats: float32 stays, everything else becomes float64.

    Parameters
    ----------
    x : array-like
        Numbers.

    Returns
    -------
    ndarray
        The same numbers.

    Examples
    --------
    >>> from skcode.flow import as_float
    >>> as_float([1, 2])
    array([1., 2.])
    """
    x = np.asarray(x)
    return x if x.dtype == np.float32 else x.astype(np.float64, copy=False)


@primitive
def sweep_flow(controls: FloatArray, x: FloatArray, sweep: Sweep) -> FloatArray:
    """Final states of one block; the sweep holds the tapes for the derivatives.

    Parameters
    ----------
    controls : ndarray of shape (M, d)
        Values of the controls.
    x : ndarray of shape (n, m)
        Initial states.
    sweep : Sweep
        Buffers for blocks of n samples.

    Returns
    -------
    ndarray of shape (n, m)
        X_1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import Sweep, get_tableau, sweep_flow
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> sweep = Sweep(fields, get_tableau("euler"), 4, 1, 5, np.dtype(float))
    >>> sweep_flow(np.zeros((4, 3)), np.ones((5, 2)), sweep)[0]
    array([1., 1.])
    """
    with paused():
        return sweep.forward(controls, x).T.copy()


def _vjp_maker(
    argnums: Sequence[int],
    ans: FloatArray,
    args: tuple[Traced, Traced, Sweep],
    kwargs: dict[str, object],
) -> Callable[[Traced], tuple[FloatArray, ...]]:
    controls, x, sweep = args

    def vjp(g: Traced) -> tuple[FloatArray, ...]:
        if isbox(g) or isbox(controls) or isbox(x):
            raise NotImplementedError(
                "flow differentiates once; trace fields.value for higher derivatives."
            )
        with paused():
            u_bar = np.zeros(controls.shape, sweep.dtype)
            x_bar = sweep.adjoint(np.ascontiguousarray(g.T), u_bar, wants_start=1 in argnums)
        parts = {0: u_bar.astype(controls.dtype, copy=False)}
        if x_bar is not None:
            parts[1] = x_bar.T.astype(x.dtype, copy=False)
        return tuple(parts[k] for k in argnums)

    return vjp


def _jvp_maker(
    argnums: Sequence[int],
    tangents: Sequence[Traced],
    ans: FloatArray,
    args: tuple[Traced, Traced, Sweep],
    kwargs: dict[str, object],
) -> FloatArray:
    controls, x, sweep = args
    given = dict(zip(argnums, tangents, strict=True))
    du = given.get(0, np.zeros(np.shape(controls)))
    dx = given.get(1, np.zeros(np.shape(x)))
    if isbox(du) or isbox(dx) or isbox(controls) or isbox(x):
        raise NotImplementedError(
            "flow differentiates once; trace fields.value for higher derivatives."
        )
    with paused():
        return sweep.tangent(du, np.ascontiguousarray(dx.T)).T.copy()


defvjp_argnums(sweep_flow, _vjp_maker)
defjvp_argnums(sweep_flow, _jvp_maker)


def trajectory(
    fields: DrawnFields,
    x: ArrayLike,
    controls: ArrayLike,
    integrator: str | Tableau = "euler",
    n_steps: int = 1,
) -> FloatArray:
    """States at the interval ends t = 0, 1/M, ..., 1.

    Parameters
    ----------
    fields : DrawnFields
        Drawn fields on R^m.
    x : array of shape (N, m)
        Initial states, one sample a row.
    controls : array of shape (M, d)
        Values of the controls on M intervals of length 1 / M.
    integrator : {"euler", "midpoint", "heun", "rk4"} or Tableau
        The scheme.
    n_steps : int
        Steps in each interval.

    Returns
    -------
    ndarray of shape (M + 1, N, m)
        ``[0]`` is x, ``[-1]`` is ``flow(...)``.

    Raises
    ------
    ValueError
        As `flow` does.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import trajectory
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> trajectory(fields, np.eye(2), np.ones((4, 3))).shape
    (5, 2, 2)
    """
    _check(fields, x, controls, n_steps)
    x, controls = as_float(x), as_float(controls)
    sweep = Sweep(fields, get_tableau(integrator), len(controls), n_steps, len(x), x.dtype)
    sweep.forward(controls, x)
    return sweep.states[::n_steps].transpose(0, 2, 1).copy()
