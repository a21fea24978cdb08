"""Solvers: minimise an objective over one parameter vector."""

from skcode.solvers._base import Monitor, Solver, SolverResult
from skcode.solvers._gauss_newton import GaussNewton
from skcode.solvers._lbfgs import LBFGS
from skcode.solvers._stochastic import SGD, Adam, StochasticSolver

SOLVERS: dict[str, type[Solver]] = {
    "gauss-newton": GaussNewton,
    "lbfgs": LBFGS,
    "sgd": SGD,
    "adam": Adam,
}

__all__ = [
    "LBFGS",
    "SGD",
    "SOLVERS",
    "Adam",
    "GaussNewton",
    "Monitor",
    "Solver",
    "SolverResult",
    "StochasticSolver",
]
