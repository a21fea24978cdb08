"""States, vector field and decision regions of a flow in the plane, through time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.utils.validation import check_consistent_length

from skcode.flow import Tableau, trajectory
from skcode.model import FittedEstimator
from skcode.plotting._common import last_step, names_of_coordinates, of_member
from skcode.plotting._panel import draw_key, draw_legend, draw_moment
from skcode.plotting._plane import (
    CoordinatePlane,
    FlowInPlane,
    Plane,
    check_coordinates,
    check_moments,
    encoded,
    plane_of_readout,
    predictor,
)
from skcode.utils._sklearn import check_matplotlib_support
from skcode.utils._typing import FloatArray

#: panels of a figure, unless the user names times
_PANELS = 5
#: frames of an animation, unless the user names how many lie between two moments
_FRAMES = 40
#: least share of the samples' predictions that regions in a plane of more than two states tell
_LEAST_FIDELITY = 0.8


class FlowDisplay:
    r"""A flow in a plane of its state space, at moments of [0, 1].

    Points are states :math:`X_t` of samples, paths are their trajectories, arrows are the field
    :math:`\sum_i u^i_t V_i`. The region of a state z at time t is what the model predicts where the
    flow from (t, z) ends: at t = 0 these are the regions of the model, at t = 1 those of its
    readout.

    With more than two states the plane is one of two directions that the readout reads: those along
    which its scores change most at the final states. A position in it stands for many states;
    arrows and regions are those of the state that the samples' own states make likely there.
    `fidelity` says how far that tells what the model predicts for the samples themselves. Regions
    that tell too little are left out, with a warning: no plane can show them.

    It is recommended to use `from_estimator` or `from_controls`.

    Parameters
    ----------
    times : array-like of shape (T,)
        The moments.
    states : array-like of shape (T, N, 2)
        States of the samples, in the two coordinates.
    grid : tuple of array-likes of shape (G,) and (G,), or None
        Coordinates at which `regions` are given.
    regions : array-like of shape (T, G, G) or None
        Class codes or predictions; the first of the two last axes is the second coordinate.
    field_grid : tuple of array-likes of shape (F,) and (F,), or None
        Coordinates at which `field` is given.
    field : array-like of shape (T, F, F, 2) or None
        Vectors, in the two coordinates.
    target : array-like of shape (N,) or None
        Class codes or numbers, for the colours.
    classes : list or None
        Names of the classes; None where targets and regions are numbers.
    names : pair of str
        Names of the two coordinates.
    fidelity : array-like of shape (T,) or None
        Share of the samples whose class the regions show as the model predicts it, or the R2 of
        their numbers, at each moment; None for planes that hold all states, or were chosen by hand.
    colour_name : str
        What the numbers behind the colours are.

    Attributes
    ----------
    ax_ : matplotlib Axes or ndarray of them
        Where the flow was drawn; an array for several times.
    figure_ : matplotlib Figure
        The figure of these axes.
    animation_ : matplotlib FuncAnimation
        What `animate` returned last; a figure does not keep it alive.

    Raises
    ------
    ValueError
        If there are not as many states as times.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.plotting import FlowDisplay
    >>> X, y = make_moons(100, noise=0.1, random_state=0)
    >>> model = ControlledODEClassifier("neural", n_intervals=8, n_members=1, random_state=0)
    >>> display = FlowDisplay.from_estimator(model.fit(X, y), X, y)
    >>> display.states.shape, len(display.ax_)
    ((9, 100, 2), 5)
    """

    def __init__(
        self,
        *,
        times: ArrayLike,
        states: ArrayLike,
        grid: tuple[ArrayLike, ArrayLike] | None = None,
        regions: ArrayLike | None = None,
        field_grid: tuple[ArrayLike, ArrayLike] | None = None,
        field: ArrayLike | None = None,
        target: ArrayLike | None = None,
        classes: list[Any] | None = None,
        names: Sequence[str] = ("state 0", "state 1"),
        fidelity: ArrayLike | None = None,
        colour_name: str = "y",
    ):
        self.times = np.asarray(times, dtype=float)
        self.states = np.asarray(states)
        if len(self.times) != len(self.states):
            raise ValueError(f"{len(self.times)} times do not fit {len(self.states)} states.")
        self.grid = grid
        self.regions = None if regions is None else np.asarray(regions)
        self.field_grid = field_grid
        self.field = None if field is None else np.asarray(field)
        self.target = None if target is None else np.asarray(target)
        self.classes = classes
        self.names = tuple(names)
        self.fidelity = None if fidelity is None else np.asarray(fidelity, dtype=float)
        self.colour_name = colour_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        member: int = 0,
        coordinates: tuple[int, int] | None = None,
        times: ArrayLike | None = None,
        grid_resolution: int = 100,
        field_resolution: int = 20,
        ax: Any = None,
        **kwargs: Any,
    ) -> FlowDisplay:
        """Compute and draw the flow of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted controlled ODE, or what ends in one.
        X : array-like of shape (N, n_features)
            Inputs whose states are drawn.
        y : array-like of shape (N,) or None
            Targets, for the colours; None colours by what the member predicts.
        member : int
            Which member of an ensemble.
        coordinates : pair of int or None
            Which two states make the plane. The others are then at their mean. None takes both of
            two states, and of more the directions that the readout reads.
        times : array-like or None
            Moments in [0, 1], rounded to the ends of intervals. None takes all ends, or 21 of them
            if there are more.
        grid_resolution, field_resolution : int
            Points of the grids of regions and arrows, in each coordinate.
        ax : matplotlib Axes, array of them, or None
            Where to draw, as in `plot`.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        FlowDisplay
            What was drawn. There are no regions for transformers, and none for
            ``readout="displacement"``, whose prediction is no function of the state alone.

        Raises
        ------
        ValueError
            If there is no such member, or the flow of X explodes.
        """
        model, X = last_step(estimator, X)
        fields = of_member(model, "vector_fields_", member)
        states = model.trajectory(X, member)
        if y is not None:
            check_consistent_length(X, y)
        chosen = coordinates is not None or fields.n_states == 2
        plane: Plane
        if chosen:
            chosen_pair = (0, 1) if coordinates is None else coordinates
            coordinates = check_coordinates(chosen_pair, fields.n_states)
            plane = CoordinatePlane(coordinates)
            names = _coordinate_names(model, coordinates)
        else:
            plane = plane_of_readout(model.ensemble_.members[member], states)
            names = ["readout direction 1", "readout direction 2"]
        controls = of_member(model, "controls_", member)
        how = {"integrator": model.integrator}
        computed = FlowInPlane(fields, states, controls, how, plane, times)
        target, classes = (None, None) if y is None else encoded(y, model)
        shown: dict[str, Any] = {}
        if (predict := predictor(model, member)) is not None:
            if classes is None and is_classifier(model):
                classes = model.classes_.tolist()
            own = predict(states[-1])
            shown = computed.regions(grid_resolution, predict)
            if not chosen:
                fidelity = computed.fidelity(predict, own, classes is not None)
                shown |= _regions_that_tell(fidelity, computed.times, **shown)
            if target is None:
                target = own.astype(int) if classes is not None else own
                shown["colour_name"] = "prediction"
        display = cls(
            times=computed.times,
            states=computed.states,
            **computed.arrows(field_resolution),
            **shown,
            target=target,
            classes=classes,
            names=names,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_controls(
        cls,
        fields: Any,
        x: ArrayLike,
        controls: ArrayLike,
        y: ArrayLike | None = None,
        *,
        integrator: str | Tableau = "euler",
        n_steps: int = 1,
        coordinates: tuple[int, int] = (0, 1),
        times: ArrayLike | None = None,
        field_resolution: int = 20,
        ax: Any = None,
        **kwargs: Any,
    ) -> FlowDisplay:
        """Compute and draw the flow of given fields and controls, without a model.

        Parameters
        ----------
        fields : DrawnFields
            Drawn fields on R^m.
        x : array-like of shape (N, m)
            Initial states.
        controls : array-like of shape (M, d)
            Values of the controls on M intervals.
        y : array-like of shape (N,) or None
            Classes or numbers, for the colours.
        integrator : {"euler", "midpoint", "heun", "rk4"} or Tableau
            The scheme.
        n_steps : int
            Steps in each interval.
        coordinates : pair of int
            Which two states make the plane.
        times : array-like or None
            Moments in [0, 1], as in `from_estimator`.
        field_resolution : int
            Arrows in each coordinate.
        ax : matplotlib Axes, array of them, or None
            Where to draw, as in `plot`.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        FlowDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        controls = np.asarray(controls)
        how: dict[str, Any] = {"integrator": integrator, "n_steps": n_steps}
        with np.errstate(all="ignore"):
            states = trajectory(fields, x, controls, **how)
        coordinates = check_coordinates(coordinates, states.shape[-1])
        computed = FlowInPlane(fields, states, controls, how, CoordinatePlane(coordinates), times)
        target, classes = (None, None) if y is None else encoded(y)
        display = cls(
            times=computed.times,
            states=computed.states,
            **computed.arrows(field_resolution),
            target=target,
            classes=classes,
            names=[f"state {j}" for j in coordinates],
        )
        return display.plot(ax, **kwargs)

    # -- drawing ---------------------------------------------------------------------------------

    def plot(
        self,
        ax: Any = None,
        *,
        time: float | ArrayLike | None = None,
        points: bool = True,
        paths: bool = False,
        field: bool = False,
        regions: bool = True,
        key: bool = True,
        scatter_kw: dict[str, Any] | None = None,
        path_kw: dict[str, Any] | None = None,
        field_kw: dict[str, Any] | None = None,
        region_kw: dict[str, Any] | None = None,
    ) -> FlowDisplay:
        """Draw the flow at one moment, or at several side by side.

        Parameters
        ----------
        ax : matplotlib Axes, array of them, or None
            Where to draw: an Axes for each time. None makes a new figure.
        time : float, array-like or None
            Moments in [0, 1]; the nearest ones that were computed are drawn. None is five of them,
            or as many as there are axes, the last one for one Axes.
        points, paths, field, regions : bool
            What to draw: the states, their trajectories up to that moment, arrows, regions.
        key : bool
            Whether a legend, or a bar, says what the colours mean.
        scatter_kw, path_kw, field_kw, region_kw : dict or None
            Passed to matplotlib's ``scatter``, ``LineCollection``, ``quiver``, and ``contourf``.

        Returns
        -------
        FlowDisplay
            This display.

        Raises
        ------
        ValueError
            If there are not as many axes as times.
        """
        check_matplotlib_support("FlowDisplay.plot")
        import matplotlib.pyplot as plt

        if time is None:
            n = min(_PANELS, len(self.times)) if ax is None else np.size(ax)
            time = 1.0 if ax is not None and np.ndim(ax) == 0 else np.linspace(0, 1, n)
        asked = np.atleast_1d(np.asarray(time, dtype=float))
        check_moments("time", asked)
        moments = [int(np.argmin(np.abs(self.times - t))) for t in asked]
        outside = ax is None
        if ax is None:
            size = (2.6 * len(moments) + 1.4, 2.9) if len(moments) > 1 else None
            _, ax = plt.subplots(
                1, len(moments), figsize=size, sharex=True, sharey=True, layout="constrained"
            )
        axes = np.atleast_1d(ax).ravel()
        if len(axes) != len(moments):
            raise ValueError(f"{len(axes)} axes do not fit {len(moments)} times.")
        self.ax_, self.figure_ = ax, axes[0].figure
        layers = {"points": points, "paths": paths, "field": field, "regions": regions}
        styles = {"points": scatter_kw, "paths": path_kw, "field": field_kw, "regions": region_kw}
        self._drawn = layers, styles
        for k, (panel, moment) in enumerate(zip(axes, moments, strict=True)):
            draw_moment(self, panel, moment, layers, styles)
            if k:
                panel.set_ylabel("")
        if key:
            draw_key(self, list(axes), layers, outside)
        return self

    def animate(
        self,
        ax: Any = None,
        *,
        frames_between: int | None = None,
        interval: float = 80,
        **kwargs: Any,
    ) -> Any:
        """Animate the flow from t = 0 to t = 1; states move on straight lines between moments.

        Parameters
        ----------
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        frames_between : int or None
            Frames from one moment to the next; None for some 40 in all.
        interval : float
            Time from frame to frame, in milliseconds.
        **kwargs
            What to draw, and how, as in `plot`.

        Returns
        -------
        matplotlib.animation.FuncAnimation
            To be saved (``.save("flow.gif")``) or shown (``.to_jshtml()``).
        """
        check_matplotlib_support("FlowDisplay.animate")
        import matplotlib.pyplot as plt
        from matplotlib.animation import FuncAnimation

        if frames_between is None:
            frames_between = max(1, round(_FRAMES / max(len(self.times) - 1, 1)))
        key = kwargs.pop("key", True)
        own = ax is None
        if own:
            ax = plt.subplots(layout="constrained")[1]
        self.plot(ax, time=0.0, key=key, **kwargs)
        layers, styles = self._drawn
        if own:
            # laid out once: to do it for each frame takes most of the time, and lets axes jump
            self.figure_.draw_without_rendering()
            self.figure_.set_layout_engine("none")
        n_frames = (len(self.times) - 1) * frames_between + 1

        def draw(frame: int) -> None:
            ax.clear()
            draw_moment(self, ax, frame / frames_between, layers, styles)
            if key and ax.get_legend() is None:
                draw_legend(self, ax)

        self.animation_ = FuncAnimation(
            self.figure_, draw, n_frames, init_func=lambda: None, interval=interval
        )
        return self.animation_


def _coordinate_names(model: FittedEstimator, coordinates: tuple[int, int]) -> list[str]:
    """Of coordinates that carry columns of X: the names of these."""
    names = names_of_coordinates(model)
    known = [] if names is None else list(names)
    return [f"state {known[j] if j < len(known) else j}" for j in coordinates]


def _regions_that_tell(
    fidelity: FloatArray, times: FloatArray, grid: Any, regions: FloatArray
) -> dict[str, Any]:
    """The regions without those that say something else than the model; a warning names them."""
    told = fidelity >= _LEAST_FIDELITY
    if told.all():
        return {"grid": grid, "regions": regions, "fidelity": fidelity}
    moments = ", ".join(f"t = {t:.2g}" for t in times[~told])
    warnings.warn(
        f"No plane shows what the model predicts at {moments}: its regions would agree with the "
        f"predictions for the samples by {fidelity.min():.2f} only, and {_LEAST_FIDELITY} is asked "
        "for. These regions are left out; the points are where they are.",
        UserWarning,
        stacklevel=3,
    )
    if not told.any():
        return {"grid": None, "regions": None, "fidelity": fidelity}
    regions = np.where(told[:, None, None], regions, np.nan)
    return {"grid": grid, "regions": regions, "fidelity": fidelity}
