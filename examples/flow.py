"""Watch a controlled ODE untangle two moons: the states at five times, drawn in the plane.

Two states, full-rank random neural fields, a linear readout: at time one a straight line has to
separate the classes, so the flow must carry them apart. No coordinate is added, as the plane
allows no crossing of paths.

    python examples/flow.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons

from skcode import ControlledODEClassifier
from skcode.fields import NeuralFields


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
    draw(model, model.trajectory(X), y, args.figure)


def draw(model: ControlledODEClassifier, states: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Snapshots of the states, and the line of the readout at the end."""
    try:
        import matplotlib
    except ImportError:
        print("No figure: matplotlib is missing. pip install '.[plot]' brings it.")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    times = np.linspace(0, len(states) - 1, 5).astype(int)
    figure, axes = plt.subplots(1, len(times), figsize=(11, 2.5), layout="constrained")
    colours = np.array(["#c8412b", "#33658a"])[y]
    for ax, k in zip(axes, times, strict=True):
        ax.scatter(*states[k].T, s=5, c=colours, lw=0)
        ax.set_title(f"t = {k / (len(states) - 1):g}", size=10)
        ax.set_aspect("equal", "datalim")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_color("#d0d5dd")
    (a, b), c = model.readout_coef_[0], model.readout_intercept_[0]
    # the points where a x + b y + c = 0
    foot, along = -c * np.array([a, b]) / (a * a + b * b), (b, -a)
    axes[-1].axline(foot, foot + along, color="#4a5260", lw=1, ls="--")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Figure: {path}")


if __name__ == "__main__":
    main()
