"""What skcode asks of joblib's private interface: where the calls of a pool will run.

`Parallel` chooses a backend when it is made, from its arguments and the `parallel_config` around
it, and keeps it in a private attribute. No other module reads it, nor what backends of clusters
have that joblib does not document. Those are told by the module that they come from, since they
cannot be imported where their packages are missing.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from joblib import Parallel
from joblib.parallel import ThreadingBackend


def backend_of(pool: Parallel) -> Any:
    """The backend of a pool, an object of joblib or of a package that joined it."""
    return pool._backend


def runs_in_threads(pool: Parallel) -> bool:
    """Whether the calls run in threads of this process."""
    return isinstance(backend_of(pool), ThreadingBackend)


def runs_on_dask(pool: Parallel) -> bool:
    """Whether the calls run on the workers of a Dask cluster."""
    return type(backend_of(pool)).__module__ == "joblib._dask"


def runs_on_ray(pool: Parallel) -> bool:
    """Whether the calls run on the workers of a Ray cluster."""
    return type(backend_of(pool)).__module__.split(".")[0] == "ray"


def dask_client(backend: Any) -> Any:
    """The client of joblib's Dask backend, which sends values to workers."""
    return backend.client


def dask_futures(backend: Any) -> MutableMapping[int, object]:
    """The table in which that backend looks arguments of calls up, by their id, to send a name."""
    futures: MutableMapping[int, object] = backend.data_futures
    return futures


def set_default_ray_options(backend: Any, options: dict[str, object]) -> None:
    """Options of the workers of Ray's backend, where its user gave none."""
    if backend.ray_remote_args is None:
        backend.ray_remote_args = options
