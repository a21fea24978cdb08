"""Solvers: minimise an objective over one parameter vector."""

from skcode.solvers._back_off import back_off, halve_controls
from skcode.solvers._base import Monitor, Solver, SolverResult
from skcode.solvers._gauss_newton import GaussNewton
from skcode.solvers._lbfgs import LBFGS
from skcode.solvers._objectives import (
    BatchObjective,
    NormalObjective,
    ReadoutObjective,
    SmoothObjective,
    ValueObjective,
)
from skcode.solvers._stochastic import (
    SGD,
    Adam,
    Moments,
    StochasticSolver,
    StreamState,
    Velocity,
)
from skcode.utils._publish import publish

SOLVERS: dict[str, type[Solver]] = {
    "gauss-newton": GaussNewton,
    "lbfgs": LBFGS,
    "sgd": SGD,
    "adam": Adam,
}

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/solver/gauss-newton": GaussNewton,
    "skcode/solver/lbfgs": LBFGS,
    "skcode/solver/sgd": SGD,
    "skcode/solver/adam": Adam,
    "skcode/solver/stream-state": StreamState,
    "skcode/solver/velocity": Velocity,
    "skcode/solver/moments": Moments,
}

__all__ = [
    "LBFGS",
    "SGD",
    "SOLVERS",
    "TAGS",
    "Adam",
    "BatchObjective",
    "GaussNewton",
    "Moments",
    "Monitor",
    "NormalObjective",
    "ReadoutObjective",
    "SmoothObjective",
    "Solver",
    "SolverResult",
    "StochasticSolver",
    "StreamState",
    "ValueObjective",
    "Velocity",
    "back_off",
    "halve_controls",
]

publish(__name__)
