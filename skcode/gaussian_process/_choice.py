"""Noise and lengths by what is left out, where the evidence is too sure.

The evidence takes the indicators of classes for numbers with normal noise. Inside a class there is
no noise, at its border there is much, and the mean of both is too small for the border. Where one
class is rare, its few rows even look like a rough function without any noise, and so may numbers
where only few rows were asked. Left-out predictions tell: as long as more noise, and longer
lengths, predict better by more than chance, they are taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skcode.gaussian_process._evidence import Hyperparameters
from skcode.gaussian_process._regression import fit_exact
from skcode.utils._typing import FloatArray

#: factors on the noise, and on all lengths, that are tried in each round
_FACTORS = ((4.0, 1.0), (1.0, 2.0), (4.0, 2.0), (16.0, 2.0))
#: standard errors by which left-out predictions must be better for the evidence to be overruled
_ERRORS = 2.0
#: most rounds: most tables need none or one, a table with a rare class took all four
_ROUNDS = 4


def scaled(hyperparameters: Hyperparameters, noise: float, length: float) -> Hyperparameters:
    """With so many times the noise, and lengths that are so many times as long.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Kernel and noise.
    noise : float
        Factor on the noise.
    length : float
        Factor on all lengths.

    Returns
    -------
    Hyperparameters
        Others.

    Examples
    --------
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, scaled
    >>> other = scaled(Hyperparameters(Kernel(1.0, 2.0, 0.0, 1.0, 0.5), 0.1), 4.0, 2.0)
    >>> other.noise, other.kernel.length_l1
    (0.4, 4.0)
    """
    return Hyperparameters(hyperparameters.kernel.longer(length), noise * hyperparameters.noise)


def choose_factors(
    states: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    losses: Callable[[FloatArray], FloatArray],
) -> tuple[float, float]:
    """Factors on the noise and on the lengths: ones, unless left-out predictions tell otherwise.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    hyperparameters : Hyperparameters
        Those of highest evidence.
    losses : callable
        Loss (n,) of each row given left-out predictions (n, K).

    Returns
    -------
    noise : float
        The factor on the noise.
    length : float
        The factor on both lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, choose_factors
    >>> rng = np.random.default_rng(0)
    >>> x, ones = rng.uniform(-1, 1, (300, 1)), np.ones(300)
    >>> y = np.sign(x + 0.5 * rng.standard_normal(x.shape))
    >>> surest = Hyperparameters(Kernel(1.0, 0.5, 0.0, 1.0, 0.0), 1e-2)
    >>> choose_factors(x, y, ones, ones, surest, lambda left_out: (left_out - y)[:, 0] ** 2)
    (16.0, 2.0)
    """
    every = np.arange(len(targets))

    def losses_with(noise: float, length: float) -> FloatArray:
        own = scaled(hyperparameters, noise, length)
        return losses(fit_exact(states, targets, weight, counts, own, every).left_out)

    found, of_found = (1.0, 1.0), losses_with(1.0, 1.0)
    for _ in range(_ROUNDS):
        best, of_best, saved = found, of_found, 0.0
        for noise, length in _FACTORS:
            factors = noise * found[0], length * found[1]
            of_factors = losses_with(*factors)
            gain = significant_gain(of_found, of_factors, weight, _ERRORS)
            if gain > saved:
                best, of_best, saved = factors, of_factors, gain
        if best == found:
            break
        found, of_found = best, of_best
    return found


def significant_gain(
    before: FloatArray, after: FloatArray, weight: FloatArray, errors: float
) -> float:
    """Mean loss that is saved; zero unless it is more than so many standard errors.

    Parameters
    ----------
    before, after : ndarray of shape (n,)
        Losses of the rows.
    weight : ndarray of shape (n,)
        Weights of the rows.
    errors : float
        Standard errors of the mean of the difference.

    Returns
    -------
    float
        What is saved.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import significant_gain
    >>> before, after, ones = np.array([2.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]), np.ones(3)
    >>> round(significant_gain(before, after, ones, 2.0), 3)
    1.333
    >>> significant_gain(after, before, ones, 2.0)
    0.0
    """
    share = weight / weight.sum()
    better = before - after
    mean = float(share @ better)
    error = float(np.sqrt(share**2 @ (better - mean) ** 2))
    return mean if mean > errors * error else 0.0
