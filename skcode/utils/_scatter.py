"""Values that many calls share, sent to other machines once.

joblib hands every call its arguments anew. Dask and Ray can keep values where the calls run: what
is kept there is sent when it is first needed, and named from then on.
"""

from __future__ import annotations

import sys
from typing import Any

from joblib import Parallel

from skcode.utils._joblib import (
    backend_of,
    dask_client,
    dask_futures,
    runs_on_dask,
    runs_on_ray,
    set_default_ray_options,
)

#: options of Ray's workers, where the user gave none: a lost worker is started again, and its
#: tasks are done again, without a limit (-1)
_RAY_RESTARTS: dict[str, object] = {"max_restarts": -1, "max_task_retries": -1}


class Scatter:
    """How the backend of a pool gets values: with each call, since nothing leaves this machine.

    Parameters
    ----------
    pool : Parallel
        A pool that is not entered yet.
    """

    #: whether calls run on machines that can keep values
    keeps = False

    def __init__(self, pool: Parallel):
        self.backend = backend_of(pool)

    def send(self, values: list[object]) -> None:
        """Send the values that are not there yet."""

    def named(self, value: object) -> object:
        """What a call is given in place of a value that was sent."""
        return value

    def forget(self) -> None:
        """Let go of all that was sent, before the pool closes."""

    def has_lost(self, error: BaseException) -> bool:
        """Whether the error tells of a machine that is gone with the values that it kept."""
        return False


class DaskScatter(Scatter):
    """Through joblib's own table of futures, in which it looks arguments up."""

    keeps = True

    def __init__(self, pool: Parallel):
        super().__init__(pool)
        self.sent: dict[int, object] = {}

    def send(self, values: list[object]) -> None:
        table = dask_futures(self.backend)
        missing = [value for value in values if id(value) not in table]
        client = dask_client(self.backend)
        futures = client.scatter(missing, hash=False) if missing else []
        table.update(zip(map(id, missing), futures, strict=True))
        self.sent.update((id(value), value) for value in missing)

    def forget(self) -> None:
        # the table outlives the pool, and the ids in it may be given to other values
        for key in self.sent:
            dask_futures(self.backend).pop(key, None)
        self.sent.clear()

    def has_lost(self, error: BaseException) -> bool:
        return type(error).__module__.split(".")[0] == "distributed"


class RayScatter(Scatter):
    """Through Ray's object store, which every machine reads without a copy of its own."""

    keeps = True

    def __init__(self, pool: Parallel):
        super().__init__(pool)
        self.sent: dict[int, tuple[object, InStore]] = {}
        set_default_ray_options(self.backend, _RAY_RESTARTS)

    def send(self, values: list[object]) -> None:
        for value in values:
            if id(value) not in self.sent:
                self.sent[id(value)] = value, InStore(_ray().put(value))

    def named(self, value: object) -> object:
        entry = self.sent.get(id(value))
        return value if entry is None else entry[1]

    def forget(self) -> None:
        self.sent.clear()


class InStore:
    """A value in Ray's object store."""

    def __init__(self, reference: Any):
        self.reference = reference

    def value(self) -> object:
        return _ray().get(self.reference)


def _ray() -> Any:
    """Ray, which whoever asked for its backend has imported."""
    return sys.modules["ray"]


def scatter(pool: Parallel) -> Scatter:
    """How the backend of a pool that is not entered yet gets values."""
    if runs_on_dask(pool):
        return DaskScatter(pool)
    if runs_on_ray(pool):
        return RayScatter(pool)
    return Scatter(pool)


def arrived(value: object) -> object:
    """The value that a call was given, or that it was given the name of."""
    return value.value() if isinstance(value, InStore) else value
