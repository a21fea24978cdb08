"""The state of a fitted estimator as arrays and plain containers, with a version mark.

pickle would store the parts of a model by the classes that they are of. Plain data instead lets
skops load a model that trusts one class alone, and lets a reader say which version wrote the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from skcode import __version__

_VERSION = "_skcode_version"
_CLASS = "skcode.class"
_DTYPE = "skcode.dtype"


def pack(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """Objects of skcode's own classes within a value as dicts; what is shared stays shared."""
    if id(value) in memo:
        return memo[id(value)][1]
    kind = type(value)
    if kind is dict:
        packed: Any = {key: pack(item, memo) for key, item in value.items()}
    elif kind in (list, tuple):
        packed = kind(pack(item, memo) for item in value)
    elif isinstance(value, np.dtype):
        packed = {_DTYPE: value.str}
    elif kind.__module__.split(".")[0] == "skcode":
        # an object without attributes has no state
        state = pack(value.__getstate__() or {}, memo)
        packed = {_CLASS: f"{kind.__module__}.{kind.__qualname__}", "state": state}
    else:
        return value
    # the value is kept as well: its id must not be given to another
    memo[id(value)] = (value, packed)
    return packed


def unpack(value: Any, memo: dict[int, Any]) -> Any:
    """The inverse of `pack`. Only classes of skcode are looked up, and none of them is called."""
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is not dict:
        unpacked: Any = kind(unpack(item, memo) for item in value)
    elif _DTYPE in value:
        unpacked = np.dtype(value[_DTYPE])
    elif _CLASS in value:
        found = _find(value[_CLASS])
        unpacked = object.__new__(found)
        unpacked.__dict__.update(unpack(value["state"], memo))
    else:
        unpacked = {key: unpack(item, memo) for key, item in value.items()}
    memo[id(value)] = unpacked
    return unpacked


def _find(path: str) -> type:
    module, _, name = path.rpartition(".")
    if module.split(".")[0] != "skcode":
        raise ValueError(f"{path} is no class of skcode.")
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and found.__module__ == module):
        raise ValueError(f"{path} is no class of skcode.")
    return found


@contextmanager
def unchanged_by_failure(estimator: Any) -> Iterator[None]:
    """Put back what scikit-learn's validation sets at once, if the fit fails later."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
            if name in before:
                setattr(estimator, name, before[name])
        raise


class TravelMixin:
    """Plain state for an estimator: for pickle, joblib, copies and skops."""

    def __getstate__(self) -> dict[str, Any]:
        state = pack(dict(super().__getstate__()), {})  # type: ignore[call-overload]
        return {**state, _VERSION: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        written = state.pop(_VERSION, "a version without a mark")
        name = type(self).__name__
        if written != __version__:
            warnings.warn(
                f"This {name} was saved by skcode {written} and is read by skcode {__version__}: "
                f"its predictions may differ. Refit it, or install skcode {written}.",
                stacklevel=2,
            )
        try:
            state = unpack(state, {})
        except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"This {name} was saved by skcode {written} and cannot be read by skcode "
                f"{__version__}: refit it, or install skcode {written}. ({error})"
            ) from error
        super().__setstate__(state)  # type: ignore[misc]
