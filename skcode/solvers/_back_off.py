"""Backing off from where the flow explodes: towards what is finite, a shorter step at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from skcode.utils._typing import FloatArray

#: how often one backs off; so many halvings are a factor of 1e18
MOST_ATTEMPTS = 60

Value = TypeVar("Value")


def warn_of_explosion(done: str) -> None:
    """Tell that the flow exploded in training, what was done, and what helps."""
    warnings.warn(
        f"The flow or the loss overflows in training: {done}. The model may be poor. Scale X "
        "(scaling='robust'), lower the degree or the scale of the vector fields, or use bounded "
        "ones (vector_fields='neural').",
        RuntimeWarning,
        stacklevel=3,
    )


def back_off(
    theta: FloatArray,
    evaluate: Callable[[FloatArray], Value],
    loss: Callable[[Value], float],
    shorten: Callable[[FloatArray, int], FloatArray],
    failure: str,
) -> tuple[FloatArray, Value, int]:
    """Parameters whose loss is finite: those given, or the first ones on the way back from there.

    Parameters
    ----------
    theta : ndarray
        Where to begin.
    evaluate : callable
        Called once for each parameter vector that is tried.
    loss : callable
        The loss within what `evaluate` returns.
    shorten : callable
        ``shorten(theta, attempt)`` is what to try next; attempts count from 0.
    failure : str
        The message of the error where nothing on the way is finite.

    Returns
    -------
    theta : ndarray
        The parameters.
    value : object
        What `evaluate` returned for them.
    n_attempts : int
        How often it was shortened.

    Raises
    ------
    ValueError
        If the loss is not finite after the last attempt.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import back_off
    >>> value = lambda theta: float(theta[0]) if theta[0] < 2 else np.inf
    >>> back_off(np.array([12.0]), value, float, lambda theta, attempt: theta / 2, "explodes")
    (array([1.5]), 1.5, 3)
    """
    for attempt in range(MOST_ATTEMPTS):
        value = evaluate(theta)
        if np.isfinite(loss(value)):
            return theta, value, attempt
        theta = shorten(theta, attempt)
    raise ValueError(failure)


def halve_controls(
    theta: FloatArray,
    n_controls: int,
    evaluate: Callable[[FloatArray], Value],
    loss: Callable[[Value], float],
    failure: str,
) -> tuple[FloatArray, Value]:
    """Halve the controls until the loss is finite, and tell of it; at zero the flow is at rest.

    Parameters
    ----------
    theta : ndarray
        Where to begin: controls, then other parameters.
    n_controls : int
        Number of parameters that are controls.
    evaluate : callable
        Called once for each parameter vector that is tried.
    loss : callable
        The loss within what `evaluate` returns.
    failure : str
        The message of the error where nothing on the way is finite.

    Returns
    -------
    theta : ndarray
        The parameters.
    value : object
        What `evaluate` returned for them.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import halve_controls
    >>> value = lambda theta: float(theta.sum())
    >>> halve_controls(np.array([1.0, 8.0]), 1, value, float, "explodes")
    (array([1., 8.]), 9.0)
    """

    def shorten(theta: FloatArray, attempt: int) -> FloatArray:
        theta = theta.copy()
        theta[:n_controls] /= 2
        return theta

    theta, value, n_halved = back_off(theta, evaluate, loss, shorten, failure)
    if n_halved:
        warn_of_explosion(f"the controls were divided by {2.0**n_halved:.3g}")
    return theta, value
