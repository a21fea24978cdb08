"""Test accuracy on images against the number of trained parameters, and the lecture's network.

    python examples/benchmarks/images.py --data mnist.npz --figure curve.png
    python examples/benchmarks/images.py --data mnist.npz --lecture

The first prints, for every budget, frozen filters with trained controls, the same with frozen
controls, logistic regression, random features with ridge and as many readout weights, and a fully
trained network of the same size. The second prints the lecture's full-rank networks of d fields on
M intervals. `examples/mnist.py` says where images may come from; without a source they are the
8 x 8 digits of scikit-learn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mnist

from skcode.fields import LocalFields, NeuralFields

BUDGETS = (1000, 3000, 10_000, 30_000, 100_000)


def main() -> None:
    parser = mnist.parser(__doc__.split("\n\n")[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--fields", type=int, nargs="+", default=(7,), help="d of the lecture")
    parser.add_argument("--intervals", type=int, nargs="+", default=(1, 3, 10), help="its M")
    args = parser.parse_args()
    images = mnist.load(args)
    if args.lecture:
        lecture(images, args)
    else:
        curve(images, args)


def lecture(images: mnist.Images, args) -> None:
    """Accuracy against M and d, frozen and trained controls, dense and local full-rank fields."""
    side = images.shape[0]
    families = {
        "tanh": NeuralFields("tanh", rank=None),
        "polynomial": NeuralFields("polynomial", rank=None, scale=0.5),
        "local relu": LocalFields(images.shape, (max(2, side // 9), side * 3 // 7), rank=None),
    }
    for name, family in families.items():
        for d in args.fields:
            for M in args.intervals:
                for trained in (False, True):
                    model = mnist.lecture_model(
                        images, family, M, args.passes, args.seed, args.n_jobs, trained, d
                    )
                    controls = "trained" if trained else "frozen"
                    mnist.measure(f"d={d}, M={M}, {name}, {controls} controls", model, images)


def curve(images: mnist.Images, args) -> None:
    """One line for each budget and learner, and a figure of them."""
    points: dict[str, list[tuple[int, float]]] = {}
    for budget in args.budgets:
        print(f"-- at most {budget:,} trained numbers")
        learners = {
            f"filters, {controls} controls": mnist.filter_model(
                images, budget, args.passes, args.seed, args.n_jobs, args.verbose, trained
            )
            for controls, trained in (("trained", True), ("frozen", False))
        }
        for name, model in (learners | mnist.rivals(images, budget, args.seed)).items():
            accuracy = mnist.measure(name, model, images)
            label = " ".join(word for word in name.split() if not word.isdigit())
            points.setdefault(label, []).append((mnist.n_trained(model), accuracy))
    if args.figure:
        draw(points, args.figure)


def draw(points: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Error on the test images against trained numbers, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for label, line in points.items():
        numbers, accuracies = np.array(line).T
        ax.loglog(numbers, 1 - accuracies, marker="o", ms=4, label=label)
    ax.set_xlabel("trained numbers")
    ax.set_ylabel("error on the test images")
    ax.grid(which="both", color="#e4e7ec", lw=0.5)
    ax.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Figure: {path}")


if __name__ == "__main__":
    main()
