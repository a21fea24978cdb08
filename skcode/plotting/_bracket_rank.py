"""The rank of iterated Lie brackets by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skcode.geometry import RankResult, hormander_rank
from skcode.plotting._common import COLOURS, GREY, last_step, of_member, one_axes


class BracketRankDisplay:
    r"""Rank of the iterated Lie brackets of :math:`V_1, \dots, V_d` at N points, by depth.

    Full rank N m is the N-point Hoermander condition. It is recommended to use `from_fields`,
    `from_estimator` or `from_result`.

    Parameters
    ----------
    ranks : array-like of shape (depth,)
        Dimension of the span of the brackets of up to 1, 2, ... fields.
    dimension : int
        What the rank can reach: N m.
    singular_values : list of array-likes
        Singular values of the matrix of brackets, for each depth that was evaluated.
    tolerances : array-like of shape (n_evaluated,)
        What rounding alone can do to these singular values.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the ranks were drawn.
    figure_ : matplotlib Figure
        The figure of these axes.
    lines_ : list of Line2D
        The ranks, or the singular values of each depth.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import UniversalFields
    >>> from skcode.plotting import BracketRankDisplay
    >>> fields = UniversalFields().draw(n_states=2, rng=0)
    >>> X = np.array([[0.1, 0.2], [0.7, 0.4], [0.3, 0.9]])
    >>> BracketRankDisplay.from_fields(fields, X, depth=3).ranks
    array([5, 6, 6])
    """

    def __init__(
        self,
        *,
        ranks: ArrayLike,
        dimension: int,
        singular_values: Sequence[ArrayLike] = (),
        tolerances: ArrayLike = (),
    ):
        self.ranks = np.asarray(ranks)
        self.dimension = dimension
        self.singular_values = [np.asarray(values) for values in singular_values]
        self.tolerances = np.asarray(tolerances, dtype=float)

    @classmethod
    def from_result(
        cls, result: RankResult, *, ax: Any = None, **kwargs: Any
    ) -> BracketRankDisplay:
        """Draw what `skcode.geometry.hormander_rank` or `lie_algebra_rank` returned.

        Parameters
        ----------
        result : RankResult
            The ranks.
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        BracketRankDisplay
            What was drawn.
        """
        display = cls(
            ranks=result.ranks,
            dimension=result.dimension,
            singular_values=result.singular_values,
            tolerances=result.tolerances,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_fields(
        cls, fields: Any, X: ArrayLike, depth: int, *, ax: Any = None, **kwargs: Any
    ) -> BracketRankDisplay:
        """Compute and draw the ranks of vector fields.

        Parameters
        ----------
        fields : DrawnFields or sequence of vector fields
            As in `skcode.geometry.hormander_rank`.
        X : array-like of shape (N, m)
            The points.
        depth : int
            Largest number of fields in a bracket.
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        BracketRankDisplay
            What was drawn.

        Raises
        ------
        ValueError, TypeError
            As `hormander_rank` does.
        """
        return cls.from_result(hormander_rank(fields, X, depth), ax=ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        depth: int = 2,
        *,
        member: int = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> BracketRankDisplay:
        """Compute and draw the ranks of a fitted model's fields where the flow starts.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted controlled ODE, or what ends in one.
        X : array-like of shape (N, n_features)
            Inputs; the points are their initial states E(x). Few are enough.
        depth : int
            Largest number of fields in a bracket.
        member : int
            Which member of an ensemble.
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        BracketRankDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If there is no such member, or as `hormander_rank` does.
        """
        model, X = last_step(estimator, X)
        fields = of_member(model, "vector_fields_", member)
        return cls.from_fields(fields, model.trajectory(X, member)[0], depth, ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, kind: str = "rank", **kwargs: Any) -> BracketRankDisplay:
        """Draw the ranks, or the singular values behind them.

        Parameters
        ----------
        ax : matplotlib Axes or None
            Where to draw; None makes a new figure. Several displays may share their axes: give
            each a ``label``.
        kind : {"rank", "singular values"}
            Rank by depth beside the dimension that it can reach; or the singular values at each
            depth in units of their tolerance, below which they count as zero.
        **kwargs
            Passed to matplotlib's ``plot``.

        Returns
        -------
        BracketRankDisplay
            This display.

        Raises
        ------
        ValueError
            If the kind is unknown, or there are no singular values (exact arithmetic has none).
        """
        if kind not in ("rank", "singular values"):
            raise ValueError(f"kind={kind!r} must be 'rank' or 'singular values'.")
        if kind == "singular values" and not self.singular_values:
            raise ValueError(
                "These ranks have no singular values: they come from exact arithmetic."
            )
        self.ax_ = one_axes("BracketRankDisplay.plot", ax)
        self.figure_ = self.ax_.figure
        draw = self._draw_rank if kind == "rank" else self._draw_singular_values
        self.lines_ = draw(kwargs)
        return self

    def _draw_rank(self, kwargs: dict[str, Any]) -> list[Any]:
        depths = np.arange(1, len(self.ranks) + 1)
        # each display that shares the axes brings two lines
        style: dict[str, Any] = {
            "marker": "o",
            "color": COLOURS[len(self.ax_.lines) // 2 % len(COLOURS)],
        }
        lines: list[Any] = self.ax_.plot(depths, self.ranks, **{**style, **kwargs})
        self.ax_.axhline(self.dimension, color=GREY, ls="--", lw=1, zorder=0)
        self.ax_.set(xlabel="depth of the brackets", ylabel="rank")
        self.ax_.set_ylim(bottom=0)
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.yaxis.get_major_locator().set_params(integer=True)
        if "label" in kwargs:
            self.ax_.legend(frameon=False)
        return lines

    def _draw_singular_values(self, kwargs: dict[str, Any]) -> list[Any]:
        lines: list[Any] = []
        for k, (values, tol) in enumerate(zip(self.singular_values, self.tolerances, strict=True)):
            style: dict[str, Any] = {
                "marker": ".",
                "color": COLOURS[k % len(COLOURS)],
                "label": f"depth {k + 1}",
            }
            # zeros that are exact have no place on a logarithmic axis
            ratio = np.where(values > 0, values / tol, np.nan)
            lines += self.ax_.semilogy(np.arange(1, len(values) + 1), ratio, **{**style, **kwargs})
        self.ax_.axhline(1, color=GREY, ls="--", lw=1, zorder=0)
        self.ax_.set(xlabel="number", ylabel="singular value / tolerance")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.legend(frameon=False)
        return lines
