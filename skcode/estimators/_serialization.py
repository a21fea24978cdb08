"""The state of a fitted estimator as arrays and plain containers, with a version mark.

pickle would store the parts of a model by the classes that they are of, and those by the files that
they are written in. Plain data instead lets skops load a model that trusts one class alone, lets a
reader say which version wrote the file, and lets files move: a class is named by a tag.

Each package lists the classes of its own that occur in files in `TAGS`. A class of somebody else,
such as a family that a user wrote, is left to pickle, which names it by its module as it does
always.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcode import (
    __version__,
    columns,
    fields,
    flow,
    gaussian_process,
    inputs,
    losses,
    model,
    readouts,
    solvers,
    training,
)

#: key of the version that wrote a state
_VERSION = "_skcode_version"
#: key of the tag in a dict that stands for an object
_TAG = "skcode.tag"
#: key of the attributes of that object
_STATE = "skcode.state"
#: key of a dict that stands for a dtype
_DTYPE = "skcode.dtype"

#: every class that may occur in a state, by its tag
TAGS: dict[str, type] = {
    **columns.TAGS,
    **fields.TAGS,
    **flow.TAGS,
    **gaussian_process.TAGS,
    **inputs.TAGS,
    **losses.TAGS,
    **model.TAGS,
    **readouts.TAGS,
    **solvers.TAGS,
    **training.TAGS,
}
_TAG_OF = {kind: tag for tag, kind in TAGS.items()}


def pack(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """Objects of tagged classes within a value as dicts; what is shared stays shared."""
    if id(value) in memo:
        return memo[id(value)][1]
    kind = type(value)
    if kind is dict:
        packed: Any = {key: pack(item, memo) for key, item in value.items()}
    elif kind in (list, tuple):
        packed = kind(pack(item, memo) for item in value)
    elif isinstance(value, np.dtype):
        packed = {_DTYPE: value.str}
    elif kind in _TAG_OF:
        # an object without attributes has no state
        packed = {_TAG: _TAG_OF[kind], _STATE: pack(value.__getstate__() or {}, memo)}
    else:
        return value
    # the value is kept as well: its id must not be given to another
    memo[id(value)] = (value, packed)
    return packed


def unpack(value: Any, memo: dict[int, Any]) -> Any:
    """The inverse of `pack`. Only tagged classes are looked up, and none of them is called."""
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is not dict:
        unpacked: Any = kind(unpack(item, memo) for item in value)
    elif _DTYPE in value:
        unpacked = np.dtype(value[_DTYPE])
    elif _TAG in value:
        if value[_TAG] not in TAGS:
            raise ValueError(f"{value[_TAG]} is no class of skcode.")
        unpacked = object.__new__(TAGS[value[_TAG]])
        unpacked.__dict__.update(unpack(value[_STATE], memo))
    else:
        unpacked = {key: unpack(item, memo) for key, item in value.items()}
    memo[id(value)] = unpacked
    return unpacked


@contextmanager
def unchanged_by_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Put back what scikit-learn's validation sets at once, if the fit fails later."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        for name in ("n_features_in_", "feature_names_in_", "encoder_"):
            vars(estimator).pop(name, None)
            if name in before:
                setattr(estimator, name, before[name])
        raise


class PlainStateMixin:
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
