"""Watch a controlled ODE carry two moons apart: the states at five times, drawn in the plane.

Two states, seven random and frozen vector fields, a linear readout: at time one a straight line has
to separate the classes, so the flow must carry them apart. The colours behind the points are what
the model predicts from there. No coordinate is added, as the plane allows no crossing of paths.

    python examples/flow.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons

from skcode import ControlledODEClassifier
from skcode.fields import NeuralFields

TIMES = [0, 0.25, 0.5, 0.75, 1]
#: a grey that can be read on white and on black
TEXT = "#7d8590"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--figure", type=Path, default=Path("flow.png"), help="where to draw")
    args = parser.parse_args()

    X, y = make_moons(400, noise=0.08, random_state=0)
    model = ControlledODEClassifier(
        vector_fields=NeuralFields(rank=None),
        n_fields=7,
        n_intervals=20,
        n_states=2,
        readout="linear",
        n_members=1,
        integrator="rk4",
        alpha=1e-3,
        max_iter=100,
        random_state=0,
    ).fit(X, y)
    print(f"accuracy {model.score(X, y):.3f} with {model.n_parameters_} trained numbers")
    try:
        import matplotlib
    except ImportError:
        print("No figure: matplotlib is missing. pip install '.[plot]' brings it.")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from skcode.plotting import FlowDisplay

    figure, axes = plt.subplots(1, 5, figsize=(12, 2.75), layout="constrained")
    display = FlowDisplay.from_estimator(
        model,
        X,
        y,
        time=TIMES,
        grid_resolution=500,
        ax=axes,
        key=False,
        paths=True,
        scatter_kw={"s": 11, "edgecolors": "none"},
        path_kw={"linewidths": 0.5, "alpha": 0.16},
        region_kw={"alpha": 0.14},
    )
    for ax, time in zip(axes, TIMES, strict=True):
        # each panel is as wide as what it shows, so that the start is seen as well as the end
        states = display.states[np.argmin(np.abs(display.times - time))]
        low, high = states.min(axis=0), states.max(axis=0)
        middle, half = (low + high) / 2, 0.57 * (high - low)
        (left, bottom), (right, top) = middle - half, middle + half
        ax.set(xlim=(left, right), ylim=(bottom, top))
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        ax.title.set(color=TEXT, size=11)
        ax.spines[:].set_visible(False)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.figure, dpi=160, transparent=True)
    plt.close(figure)
    print(f"Figure: {args.figure}")


if __name__ == "__main__":
    main()
