"""The trained controls over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skcode.plotting._common import (
    COLOURS,
    last_step,
    names_of_coordinates,
    of_member,
    one_axes,
)
from skcode.utils._typing import FloatArray, IntArray

#: family of the fields that belong to an input each
_INPUTS = "diagonal"
#: rows that can have a name each; of more inputs, those with the largest controls
_MOST_NAMES = 24
#: share of the height that inputs take at most by being higher than neurons, for their names
_MOST_INPUT_SHARE = 0.7


class ControlsDisplay:
    r"""The controls :math:`u^i_t` of a fitted model over time, as steps or as a heat map.

    Inputs come first, each by name: the control of a diagonal field stretches that coordinate of
    the state where it is positive and shrinks it where it is negative. Below them stand the other
    families, with a name for each field while they are few. A large control says that a field is
    used; which columns matter for the prediction say ``feature_importances_``.

    It is recommended to use `from_estimator`. All arguments are stored as attributes.

    Parameters
    ----------
    controls : array-like of shape (n_intervals, n_fields)
        Values :math:`u^i_t` on the intervals of [0, 1], all of length ``1 / n_intervals``.
    labels : list of str or None
        A label for each field, ``"family[name]"``; None numbers them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the controls were drawn.
    figure_ : matplotlib Figure
        The figure of these axes.
    artists_ : list of matplotlib artists
        The steps, one for each field, or the one image.

    Raises
    ------
    ValueError
        If there is not a label for each field.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.plotting import ControlsDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ControlledODEClassifier(n_fields=4, n_members=1, random_state=0).fit(X, y)
    >>> display = ControlsDisplay.from_estimator(model)
    >>> display.controls.shape, display.labels[-1]
    ((2, 8), 'neural[3]')
    """

    def __init__(self, *, controls: ArrayLike, labels: list[str] | None = None):
        self.controls = np.asarray(controls, dtype=float)
        if self.controls.ndim != 2:
            raise ValueError(f"controls must have shape (M, d); got {self.controls.shape}.")
        n_fields = self.controls.shape[1]
        self.labels = [f"u[{i}]" for i in range(n_fields)] if labels is None else list(labels)
        if len(self.labels) != n_fields:
            raise ValueError(f"labels must name {n_fields} fields; got {len(self.labels)} names.")

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, member: int = 0, ax: Any = None, **kwargs: Any
    ) -> ControlsDisplay:
        """Draw the controls of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted controlled ODE, or what ends in one.
        member : int
            Which member of an ensemble.
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        ControlsDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If there is no such member.
        """
        model, _ = last_step(estimator)
        labels = of_member(model, "vector_fields_", member).labels
        names = names_of_coordinates(model)
        if names is not None:
            labels = [_with_feature_name(label, names) for label in labels]
        display = cls(controls=of_member(model, "controls_", member), labels=labels)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, kind: str = "heatmap", **kwargs: Any) -> ControlsDisplay:
        """Draw the controls.

        Parameters
        ----------
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        kind : {"heatmap", "steps"}
            One image of all fields, or a line for each field.
        **kwargs
            Passed to matplotlib's ``pcolormesh`` or ``stairs``.

        Returns
        -------
        ControlsDisplay
            This display.

        Raises
        ------
        ValueError
            If the kind is unknown.
        """
        if kind not in ("heatmap", "steps"):
            raise ValueError(f"kind={kind!r} must be 'heatmap' or 'steps'.")
        self.ax_ = one_axes("ControlsDisplay.plot", ax)
        self.figure_ = self.ax_.figure
        self.artists_ = self._heatmap(kwargs) if kind == "heatmap" else self._steps(kwargs)
        self.ax_.set(xlabel="time t", xlim=(0, 1))
        return self

    @property
    def families(self) -> list[str]:
        """The family of each field: its label up to the bracket."""
        return [label.split("[")[0] for label in self.labels]

    def _heatmap(self, kwargs: dict[str, Any]) -> list[Any]:
        edges = self._row_edges()
        top = np.max(np.abs(self.controls), initial=0) or 1.0
        style: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -top, "vmax": top, **kwargs}
        times = np.linspace(0, 1, len(self.controls) + 1)
        image = self.ax_.pcolormesh(times, edges, self.controls.T, **style)
        self.ax_.set_ylim(edges[-1], edges[0])
        self.figure_.colorbar(image, ax=self.ax_, label="control u")
        families = np.array(self.families)
        starts = np.flatnonzero(np.r_[True, families[1:] != families[:-1]])
        for start in starts[1:]:
            self.ax_.axhline(edges[start], color="black", lw=0.8)
        middles, ticks, names = (edges[1:] + edges[:-1]) / 2, [], []
        for a, b in zip(starts, np.r_[starts[1:], len(families)], strict=True):
            own = np.arange(a, b)
            if families[a] == _INPUTS:
                own = self._with_room(own, middles, edges[-1])
            if families[a] == _INPUTS or len(self.labels) <= _MOST_NAMES:
                ticks += middles[own].tolist()
                names += [self._short(self.labels[i]) for i in own]
            else:
                ticks.append((edges[a] + edges[b]) / 2)
                names.append(f"{families[a]} ({b - a})")
        self.ax_.set_yticks(ticks, names)
        return [image]

    def _row_edges(self) -> FloatArray:
        """Where the rows begin and end; those of inputs are higher where neurons are many."""
        is_input = np.array([family == _INPUTS for family in self.families])
        n_inputs, n_others = int(is_input.sum()), int((~is_input).sum())
        height = 1.0
        if n_inputs and n_others and len(self.labels) > _MOST_NAMES:
            most = _MOST_INPUT_SHARE / (1 - _MOST_INPUT_SHARE) * n_others / n_inputs
            # so high that each has room for its name, and a little more than that
            named = 1.01 * n_others / max(_MOST_NAMES - n_inputs, 1)
            height = max(1.0, min(named, most))
        edges: FloatArray = np.r_[0.0, np.cumsum(np.where(is_input, height, 1.0))]
        return edges

    def _with_room(self, rows: IntArray, middles: FloatArray, height: float) -> IntArray:
        """The rows with the largest controls whose names do not lie on top of each other."""
        size = np.abs(self.controls[:, rows]).max(axis=0)
        kept: list[int] = []
        for row in rows[np.argsort(-size, kind="stable")]:
            if all(abs(middles[row] - middles[other]) >= height / _MOST_NAMES for other in kept):
                kept.append(int(row))
        return np.sort(np.array(kept, dtype=int))

    @staticmethod
    def _short(label: str) -> str:
        """``diagonal[age]`` is the row of age; numbers keep the family that they count."""
        match = re.fullmatch(rf"{_INPUTS}\[(.*)\]", label)
        return label if match is None or match[1].isdigit() else match[1]

    def _steps(self, kwargs: dict[str, Any]) -> list[Any]:
        edges = np.linspace(0, 1, len(self.controls) + 1)
        families = list(dict.fromkeys(self.families))
        by_name = len(self.labels) <= len(COLOURS)
        artists: list[Any] = []
        named: set[str] = set()
        for i, (u, family) in enumerate(zip(self.controls.T, self.families, strict=True)):
            name = self.labels[i] if by_name else family
            colour = COLOURS[(i if by_name else families.index(family)) % len(COLOURS)]
            style: dict[str, Any] = {
                "color": colour,
                "baseline": None,
                "lw": 1.5,
                "alpha": 1 if by_name else 0.6,
                # inputs are few, and are not to be hidden by neurons
                "zorder": 3 if family == _INPUTS else 2,
            }
            if name not in named:
                style["label"] = name
                named.add(name)
            artists.append(self.ax_.stairs(u, edges, **{**style, **kwargs}))
        self.ax_.axhline(0, color="black", lw=0.5)
        self.ax_.set_ylabel("control u")
        self.ax_.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return artists


def _with_feature_name(label: str, names: Sequence[str]) -> str:
    """``diagonal[3]`` belongs to input 3: with its name."""
    match = re.fullmatch(rf"{_INPUTS}\[(\d+)\]", label)
    return f"{_INPUTS}[{names[int(match[1])]}]" if match else label
