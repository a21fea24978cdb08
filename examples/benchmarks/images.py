"""The lecture's own network on images: full-rank fields of the pixels, and a readout of all states.

    python examples/benchmarks/images.py --data mnist.npz

prints full-rank networks of d fields on M intervals, dense and on patches, with frozen and trained
controls. `examples/mnist.py` says where images may come from; without a source they are the 8 x 8
digits of scikit-learn. Its `--curve` measures models of few trained numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mnist

from skcode import ControlledODEClassifier
from skcode.fields import FieldFamily, LocalFields, NeuralFields
from skcode.solvers import Adam


def main() -> None:
    parser = mnist.parser(__doc__.split("\n\n")[0])
    parser.add_argument("--fields", type=int, nargs="+", default=(7,), help="d of the lecture")
    parser.add_argument("--intervals", type=int, nargs="+", default=(1, 3, 10), help="its M")
    args = parser.parse_args()
    lecture(mnist.load(args), args)


def lecture_model(
    images: mnist.Images,
    family: FieldFamily,
    n_intervals: int,
    n_passes: int,
    seed: int,
    n_jobs: int | None,
    train_controls: bool = True,
    n_fields: int = 7,
) -> ControlledODEClassifier:
    """Full-rank fields on the pixels themselves, and a linear readout of all of them."""
    return ControlledODEClassifier(
        family,
        n_fields=n_fields,
        n_intervals=n_intervals,
        n_members=1,
        scaling="common",
        solver=Adam("cosine", learning_rate_init=0.01, batch_size=128, start_readout=True),
        alpha=1e-5,
        max_iter=mnist.passes_over(images, n_passes),
        tol=0.0,
        train_controls=train_controls,
        n_jobs=n_jobs,
        random_state=seed,
    )


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
                    model = lecture_model(
                        images, family, M, args.passes, args.seed, args.n_jobs, trained, d
                    )
                    controls = "trained" if trained else "frozen"
                    mnist.measure(f"d={d}, M={M}, {name}, {controls} controls", model, images)


if __name__ == "__main__":
    main()
