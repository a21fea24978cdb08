"""Drawing a flow at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skcode.plotting._common import COLOURS, GREY, class_colours
from skcode.plotting._plane import limits
from skcode.utils._typing import FloatArray


def draw_moment(
    display: Any,
    ax: Any,
    position: float,
    layers: dict[str, bool],
    styles: dict[str, dict[str, Any] | None],
) -> None:
    """Draw the layers of a flow at a position among its moments, which may lie between two."""
    moment = int(position)
    share = position - moment
    states = display.states[moment]
    if share:
        states = (1 - share) * states + share * display.states[moment + 1]
    style: dict[str, Any] = {name: dict(given or {}) for name, given in styles.items()}
    if layers["regions"] and display.regions is not None:
        _draw_regions(display, ax, display.regions[moment], style["regions"])
    if layers["field"] and display.field is not None:
        u, v = np.moveaxis(display.field[moment], -1, 0)
        arrows = {"color": GREY, "pivot": "mid", "width": 0.004, "zorder": 1.5}
        ax.quiver(*display.field_grid, u, v, **{**arrows, **style["field"]})
    if layers["paths"]:
        paths = np.concatenate([display.states[: moment + 1], states[None]])
        _draw_paths(display, ax, paths, style["paths"])
    if layers["points"]:
        marks: dict[str, Any] = {"s": 14, "edgecolors": "white", "linewidths": 0.4, "zorder": 3}
        if display.classes is None and display.target is not None:
            low, high = _range(display)
            marks |= {"c": display.target, "cmap": "viridis", "vmin": low, "vmax": high}
        else:
            marks["c"] = _colours(display)
        ax.scatter(*states.T, **{**marks, **style["points"]})
    time = np.interp(position, np.arange(len(display.times)), display.times)
    xlim, ylim = limits(display.states)
    ax.set(xlim=xlim, ylim=ylim, title=f"t = {time:.2g}")
    ax.set(xlabel=display.names[0], ylabel=display.names[1])


def _draw_regions(display: Any, ax: Any, values: FloatArray, style: dict[str, Any]) -> None:
    values = np.ma.masked_invalid(values)
    if not values.count():
        return
    levels: dict[str, Any] = {"zorder": 0}
    if display.classes is None:
        low, high = _range(display)
        levels |= {"levels": np.linspace(low, high, 12), "extend": "both", "cmap": "viridis"}
        levels["alpha"] = 0.6
    else:
        colours = class_colours(len(display.classes))
        levels |= {"levels": np.arange(len(colours) + 1) - 0.5, "colors": colours, "alpha": 0.25}
    ax.contourf(*display.grid, values, **{**levels, **style})


def _draw_paths(display: Any, ax: Any, paths: FloatArray, style: dict[str, Any]) -> None:
    from matplotlib.collections import LineCollection

    lines: dict[str, Any] = {"linewidths": 0.6, "alpha": 0.6, "zorder": 2}
    lines["colors"] = _colours(display) if display.classes is not None else GREY
    ax.add_collection(LineCollection(list(paths.swapaxes(0, 1)), **{**lines, **style}))


def draw_key(display: Any, axes: Sequence[Any], layers: dict[str, bool], outside: bool) -> None:
    """What the colours mean: a legend of the classes, or a bar of numbers."""
    coloured = layers["points"] and display.target is not None
    coloured = coloured or (layers["regions"] and display.regions is not None)
    if not coloured:
        return
    if display.classes is None:
        draw_bar(display, axes)
    elif outside:
        style = {"loc": "outside right upper", "frameon": False, "title": "class"}
        axes[0].figure.legend(handles=_handles(display), **style)
    else:
        draw_legend(display, axes[-1])


def draw_legend(display: Any, ax: Any) -> None:
    """The classes, beside the axes' own contents."""
    if display.classes is not None:
        ax.legend(handles=_handles(display), fontsize="small")


def draw_bar(display: Any, axes: Sequence[Any]) -> None:
    """The numbers, beside all axes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(*_range(display)), "viridis")
    axes[0].figure.colorbar(colours, ax=list(axes), label=display.colour_name)


def _handles(display: Any) -> list[Any]:
    from matplotlib.lines import Line2D

    classes = display.classes
    return [
        Line2D([], [], ls="", marker="o", color=colour, label=str(name))
        for colour, name in zip(class_colours(len(classes)), classes, strict=True)
    ]


def _colours(display: Any) -> str | list[Any]:
    """Of the classes of the samples."""
    if display.target is None or display.classes is None:
        return COLOURS[0]
    colours = class_colours(len(display.classes))
    return [colours[k] for k in display.target]


def _range(display: Any) -> tuple[float, float]:
    """Where the colours of numbers begin and end: at the targets, or at the regions."""
    values = display.regions[0] if display.target is None else display.target
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low, high if high > low else low + 1
