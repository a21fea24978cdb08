"""The objective over the iterations of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skcode.plotting._common import COLOURS, last_step, of_member, one_axes, several_members
from skcode.utils._typing import FloatArray


class LossCurveDisplay:
    """What a training lowers, by iteration, and the loss on a validation part if there was one.

    With a number for `alpha` that is the weighted mean of the losses plus the penalty. Without one
    Gauss-Newton finds the penalties from the data, and they change from step to step: neither the
    loss nor its sum with the penalty need fall then, as a stronger penalty that is right gives up
    some of the fit. What falls is minus the log evidence per row, up to a constant; it may be
    negative. The model keeps the iterate where it is lowest, which a dot marks.

    The validation loss has no penalty; a dot marks its lowest point. It is recommended to use
    `from_estimator`.

    Parameters
    ----------
    losses : list of array-likes of shape (n_iter,)
        What is lowered, after each iteration, for each member.
    validation_losses : list of array-likes of shape (n_iter,) or None
        The loss on the validation part, for each member.
    kind : {"objective", "evidence"}
        Whether the losses are mean loss plus penalty, or minus the log evidence per row.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves were drawn.
    figure_ : matplotlib Figure
        The figure of these axes.
    lines_ : list of Line2D
        The curves of training, one for each member.
    validation_lines_ : list of Line2D
        The curves of validation.

    Raises
    ------
    ValueError
        If losses and validation losses are not of the same number of members, or the kind is
        unknown.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.plotting import LossCurveDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ControlledODEClassifier(n_fields=4, n_members=2, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> len(display.losses), display.kind
    (2, 'evidence')
    """

    def __init__(
        self,
        *,
        losses: Sequence[ArrayLike],
        validation_losses: Sequence[ArrayLike] | None = None,
        kind: str = "objective",
    ):
        if kind not in _NAMES:
            raise ValueError(f"kind={kind!r} must be 'objective' or 'evidence'.")
        self.losses = [np.asarray(curve, dtype=float) for curve in losses]
        self.kind = kind
        self.validation_losses = None
        if validation_losses is not None:
            self.validation_losses = [np.asarray(c, dtype=float) for c in validation_losses]
            if len(self.validation_losses) != len(self.losses):
                raise ValueError("validation_losses must hold a curve for each of the losses.")

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, member: int | None = None, ax: Any = None, **kwargs: Any
    ) -> LossCurveDisplay:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted controlled ODE, or what ends in one.
        member : int or None
            Which member of an ensemble; None draws all of them.
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        LossCurveDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If there is no such member, or nothing was trained.
        """
        model, _ = last_step(estimator)
        if not hasattr(model, "solver_"):
            raise ValueError(
                f"This {type(model).__name__} was fitted without y: its controls were drawn, and "
                "there is no training whose losses could be shown."
            )
        every = range(len(model.controls_)) if several_members(model) else [0]
        members = every if member is None else [member]
        validation = [of_member(model, "validation_loss_curve_", k) for k in members]
        by_evidence = model.alpha is None and model.solver_.finds_penalty
        display = cls(
            losses=[of_member(model, "loss_curve_", k) for k in members],
            validation_losses=None if None in validation else validation,
            kind="evidence" if by_evidence else "objective",
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LossCurveDisplay:
        """Draw the curves; dots mark what a training by evidence or a validation part chose.

        Parameters
        ----------
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to matplotlib's ``plot`` for all curves.

        Returns
        -------
        LossCurveDisplay
            This display.
        """
        self.ax_ = one_axes("LossCurveDisplay.plot", ax)
        self.figure_ = self.ax_.figure
        self.lines_ = self._draw(self.losses, _NAMES[self.kind], COLOURS[0], "-", kwargs)
        self.validation_lines_ = []
        if self.validation_losses is not None:
            curves = self.validation_losses
            self.validation_lines_ = self._draw(curves, "validation loss", COLOURS[1], "--", kwargs)
            self._dots(curves, "lowest validation loss", COLOURS[1])
        elif self.kind == "evidence":
            self._dots(self.losses, "the iterate that is kept", COLOURS[0])
        self.ax_.set(xlabel="iteration", ylabel="per row")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.legend(frameon=False)
        return self

    def _dots(self, curves: list[FloatArray], label: str, colour: str) -> None:
        for k, curve in enumerate(curves):
            if len(curve):
                lowest = int(np.argmin(curve))
                own = {"color": colour, "ms": 6, "ls": "", "label": label if k == 0 else None}
                self.ax_.plot(lowest + 1, curve[lowest], "o", **own)

    def _draw(
        self, curves: list[FloatArray], label: str, colour: str, dashes: str, kwargs: dict[str, Any]
    ) -> list[Any]:
        style: dict[str, Any] = {
            "color": colour,
            "ls": dashes,
            "alpha": 1 if len(curves) == 1 else 0.7,
        }
        # one iteration alone is a point
        style["marker"] = "." if max(map(len, curves)) < 30 else ""
        lines: list[Any] = []
        for k, curve in enumerate(curves):
            own = {**style, "label": label if k == 0 else None, **kwargs}
            lines += self.ax_.plot(np.arange(1, len(curve) + 1), curve, **own)
        return lines


#: what the legend calls the curves, by kind
_NAMES = {"objective": "loss plus penalty", "evidence": "minus log evidence"}
