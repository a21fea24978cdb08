"""The contract of a solver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator

from skcode.model import Posterior
from skcode.objective import Objective
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._sklearn import validate_parameters
from skcode.utils._typing import FloatArray


class Monitor(Protocol):
    """Called by a solver after each iteration; returns True to stop it.

    What a solver has to say beside the loss, it gives as numbers by name, to be printed.

    Examples
    --------
    >>> curve = []
    >>> def monitor(theta, loss, parts=None):
    ...     curve.append(loss)
    ...     return loss < 1e-3
    """

    def __call__(
        self, theta: FloatArray, loss: float, parts: Mapping[str, float] | None = None
    ) -> bool: ...


@dataclass(frozen=True)
class SolverResult:
    """Where a solver ended.

    Attributes
    ----------
    theta : ndarray
        The last parameters.
    n_iter : int
        Iterations (passes over the data, for stochastic solvers).
    converged : bool
        Whether a stopping rule ended it, rather than `max_iter`.
    message : str
        Why it ended.
    posterior : Posterior or None
        Laplace posterior at theta, from solvers that have one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import SolverResult
    >>> SolverResult(np.zeros(2), n_iter=3, converged=True, message="tol").posterior is None
    True
    """

    theta: FloatArray
    n_iter: int
    converged: bool
    message: str
    posterior: Posterior | None = None


class Solver(DocLinkMixin, BaseEstimator, ABC):
    """Minimises an objective.

    A solver holds hyper-parameters only; it can be cloned and searched (``solver__momentum``).
    `needs` names all that it reads of the objective. The solvers of skcode take those names from a
    protocol, with which `minimize` is annotated as well.

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from skcode.solvers import SGD, Solver
    >>> isinstance(clone(SGD(momentum=0.5)), Solver)
    True
    """

    #: what `check_objective` checks of the parameters, as scikit-learn's estimators do
    _parameter_constraints: dict[str, list[Any]] = {}
    #: names of what `minimize` reads of the objective
    needs: tuple[str, ...] = ()
    #: whether it finds the penalty from the data where `alpha` is None, and tells the monitor minus
    #: the log evidence per row; others take the objective's own penalty
    finds_penalty: bool = False
    #: iterations when the user names no number
    default_max_iter: int = 200

    def check_objective(self, objective: object) -> None:
        """Raise a clear error if a parameter is wrong, or the objective lacks what is read."""
        validate_parameters(self)
        missing = [name for name in self.needs if not hasattr(objective, name)]
        if missing:
            raise TypeError(
                f"{type(self).__name__} needs {missing} of the objective; "
                f"{type(objective).__name__} does not have them."
            )

    def default_iterations(self, alpha: float | None) -> int:
        """Iterations where the user names no number, given the strength of the penalty."""
        return self.default_max_iter

    def ends_by_default(self, alpha: float | None) -> bool:
        """Whether `default_iterations` are a rule to stop by, which needs no warning."""
        return False

    def most_iterations(self, objective: Objective, max_iter: int) -> int:
        """How often `minimize` calls the monitor at most."""
        return max_iter

    @abstractmethod
    def minimize(
        self,
        objective: Objective,
        theta: FloatArray,
        *,
        max_iter: int,
        tol: float,
        n_iter_no_change: int,
        rng: np.random.Generator,
        monitor: Monitor,
    ) -> SolverResult:
        """Minimise from theta, and call the monitor with every iterate."""
