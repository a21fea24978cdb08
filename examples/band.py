"""Predict a curve with a band that says how sure the model is.

Points are noisy, more so on the right, and there are none in a gap. The band of 90 % is
`predict(X, return_std=True)`: mean -+ 1.645 deviations of a new observation.

    python examples/band.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from skcode import ControlledODERegressor

#: a grey that can be read on white and on black
TEXT = "#7d8590"


def truth(x: np.ndarray) -> np.ndarray:
    return np.sin(2.2 * x) + 0.4 * x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--figure", type=Path, default=Path("band.png"), help="where to draw")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    x = np.sort(np.concatenate([rng.uniform(-3, 0, 110), rng.uniform(1, 3, 90)]))
    y = truth(x) + rng.standard_normal(len(x)) * np.where(x < 0, 0.12, 0.35)
    model = ControlledODERegressor(random_state=0).fit(x[:, None], y)

    grid = np.linspace(-3, 3, 400)
    mean, std = model.predict(grid[:, None], return_std=True)
    new = truth(x) + rng.standard_normal(len(x)) * np.where(x < 0, 0.12, 0.35)
    centre, spread = model.predict(x[:, None], return_std=True)
    print(f"{np.mean(np.abs(new - centre) < 1.645 * spread):.0%} of new points lie in the band")
    try:
        import matplotlib
    except ImportError:
        print("No figure: matplotlib is missing. pip install '.[plot]' brings it.")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(12, 3.2), layout="constrained")
    band = {"color": "#33658a", "lw": 0}
    ax.fill_between(grid, mean - 1.645 * std, mean + 1.645 * std, alpha=0.22, **band)
    ax.plot(grid, mean, color="#33658a", lw=2, label="prediction, and its band of 90 %")
    ax.plot(grid, truth(grid), color=TEXT, lw=1, ls="--", label="truth")
    ax.plot(x, y, ".", color="#c8412b", ms=5, alpha=0.8, label="data")
    ax.set(xticks=[], yticks=[], xlim=(-3, 3))
    ax.spines[:].set_visible(False)
    ax.legend(frameon=False, labelcolor=TEXT, ncols=3, loc="lower right")
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.figure, dpi=160, transparent=True)
    plt.close(figure)
    print(f"Figure: {args.figure}")


if __name__ == "__main__":
    main()
