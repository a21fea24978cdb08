"""The flow of a controlled ODE: schemes, sweeps, and the autograd primitive."""

from skcode.flow._batched import BatchedFlows
from skcode.flow._flow import as_float, flow, sweep_flow, trajectory
from skcode.flow._sweep import Sweep, block_size
from skcode.flow._tableau import TABLEAUS, Tableau, get_tableau, runge_kutta

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {"skcode/tableau": Tableau}

__all__ = [
    "TABLEAUS",
    "TAGS",
    "BatchedFlows",
    "Sweep",
    "Tableau",
    "as_float",
    "block_size",
    "flow",
    "get_tableau",
    "runge_kutta",
    "sweep_flow",
    "trajectory",
]
