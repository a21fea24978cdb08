"""What is known of the parameters after a fit."""

from __future__ import annotations

from dataclasses import dataclass

from skcode.utils._arrowhead import ArrowheadFactor
from skcode.utils._typing import FloatArray


@dataclass(frozen=True, eq=False)
class Posterior:
    """Laplace approximation N(theta, P^{-1}) of the law of the parameters, given the data.

    Parameters
    ----------
    theta : ndarray of shape (n_parameters,)
        The mean: the parameters at which the loss was linearised.
    factor : ArrowheadFactor
        Cholesky factor of the precision P.
    noise_precision : float
        Inverse variance of the noise of the scores.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = ControlledODERegressor(n_fields=2, readout="linear", random_state=0).fit(X, X[:, 0])
    >>> bool(model.ensemble_.members[0].posterior.noise_precision > 1)
    True
    """

    theta: FloatArray
    factor: ArrowheadFactor
    noise_precision: float
