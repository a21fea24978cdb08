"""Images with a fraction of the parameters: frozen random filters, trained controls and readout.

Without arguments this learns the 8 x 8 digits that come with scikit-learn, in a few seconds. The
full MNIST, or any other set of images, comes from a file or from OpenML.

    python examples/mnist.py
    python examples/mnist.py --data mnist.npz --parameters 35000
    python examples/mnist.py --openml mnist_784 --parameters 35000 --compare --reference
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import fetch_openml, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skcode import ControlledODEClassifier
from skcode.fields import FilterFields, LocalFields, NeuralFields
from skcode.solvers import Adam


class Images(NamedTuple):
    """Rows of pixels, their classes, and the shape of an image."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    shape: tuple[int, ...]


def main() -> None:
    args = parser(__doc__.split("\n\n")[0]).parse_args()
    images = load(args)
    print(
        f"{len(images.X):,} images of shape {images.shape} to learn from, "
        f"{len(images.X_test):,} to test on"
    )
    model = filter_model(images, args.parameters, args.passes, args.seed, args.n_jobs, args.verbose)
    measure("filters, trained controls", model, images, args.validation)
    print("rows: true classes, columns: predicted")
    print(confusion_matrix(images.y_test, model.predict(images.X_test)))
    if args.lecture:
        for name, network in lecture_models(images, args.passes, args.seed, args.n_jobs).items():
            measure(name, network, images)
    if args.compare:
        for name, rival in rivals(images, args.parameters, args.seed).items():
            measure(name, rival, images)
    if args.reference:
        measure(
            f"{images.X.shape[1]}-512-512-{len(np.unique(images.y))}, all trained",
            network(images, (512, 512), args.seed),
            images,
        )
    if args.figure:
        draw(model, images, args.figure)


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all measurements on images share."""
    parser = argparse.ArgumentParser(description=description)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help=".npz with X (n, pixels) and y; see --test")
    source.add_argument("--openml", help="name of a data set on OpenML, such as mnist_784")
    parser.add_argument("--test", type=int, default=10_000, help="the last rows are for testing")
    parser.add_argument("--rows", type=int, help="learn from the first rows only")
    parser.add_argument("--parameters", type=int, default=1000, help="most numbers to train")
    parser.add_argument("--passes", type=int, default=8, help="passes over the data")
    parser.add_argument("--validation", type=int, default=0, help="rows to watch the training by")
    parser.add_argument("--lecture", action="store_true", help="seven full-rank fields as well")
    parser.add_argument("--compare", action="store_true", help="rivals of the same trained size")
    parser.add_argument("--reference", action="store_true", help="the standard trained network")
    parser.add_argument("--n-jobs", type=int, help="workers, as in joblib")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--figure", type=Path, help="where to draw images in the flow")
    return parser


# -- data ----------------------------------------------------------------------------------------


def load(args: argparse.Namespace) -> Images:
    """The images asked for; the shape of an image is square, with one colour or three."""
    if args.data is None and args.openml is None:
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(
            X.astype(np.uint8), y, test_size=0.3, random_state=args.seed, stratify=y
        )
    else:
        if args.data is not None:
            with np.load(args.data, allow_pickle=False) as file:
                X, y = file["X"], file["y"]
        else:
            X, y = fetch_openml(args.openml, version=1, return_X_y=True, as_frame=False)
            X = X.astype(np.uint8)
        X, X_test, y, y_test = X[: -args.test], X[-args.test :], y[: -args.test], y[-args.test :]
    X, y = X[: args.rows], y[: args.rows]
    n_colours = 1 if round(X.shape[1] ** 0.5) ** 2 == X.shape[1] else 3
    side = round((X.shape[1] / n_colours) ** 0.5)
    return Images(X, y, X_test, y_test, (side, side, n_colours))


# -- models --------------------------------------------------------------------------------------


def filter_model(
    images: Images,
    n_parameters: int,
    n_passes: int = 8,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
    train_controls: bool = True,
) -> ControlledODEClassifier:
    """Filters of a quarter of the image, pooled over 4 x 4 windows, within a number of parameters.

    Where channels are few, eight filters with trained weights share a channel; else one does. Where
    parameters abound, several members with filters of their own do better than one wide one.
    """
    n_classes = len(np.unique(images.y))
    n_members = max(n_parameters // 30_000, 1)
    n_parameters //= n_members
    family = FilterFields(images.shape, kernel_size=max(3, images.shape[0] // 4), pooling=4)
    per_channel = 8 if n_parameters < 5000 else 1
    n_channels = (n_parameters - n_classes) // (16 * n_classes + per_channel)
    if n_channels < 1:
        raise SystemExit(f"--parameters must be at least {17 * n_classes + per_channel}")
    return ControlledODEClassifier(
        family,
        n_fields=per_channel * n_channels,
        n_intervals=1,
        n_states=family.n_states(n_channels),
        n_members=n_members,
        scaling="common",
        solver=Adam(
            "cosine",
            learning_rate_init=0.01 if n_parameters < 5000 else 0.003,
            batch_size=256,
            start_readout=True,
        ),
        alpha=1e-5,
        max_iter=n_passes,
        tol=0.0,
        train_controls=train_controls,
        n_jobs=n_jobs,
        random_state=seed,
        verbose=verbose,
    )


def lecture_model(
    images: Images,
    family: Any,
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
        max_iter=n_passes,
        tol=0.0,
        train_controls=train_controls,
        n_jobs=n_jobs,
        random_state=seed,
    )


def lecture_models(
    images: Images, n_passes: int, seed: int, n_jobs: int | None
) -> dict[str, ControlledODEClassifier]:
    """The lecture's network: d = 7 and full rank; frozen and trained, dense and local."""
    side = images.shape[0]
    families = {
        "tanh": NeuralFields("tanh", rank=None),
        "polynomial": NeuralFields("polynomial", rank=None, scale=0.5),
        "local relu": LocalFields(
            images.shape, (max(2, side // 9), max(3, side * 3 // 7)), "relu", rank=None
        ),
    }
    return {
        f"d=7, M=3, {name}, {'trained' if trained else 'frozen'} controls": lecture_model(
            images, family, 3, n_passes, seed, n_jobs, trained
        )
        for name, family in families.items()
        for trained in (False, True)
    }


def rivals(images: Images, n_parameters: int, seed: int) -> dict[str, Any]:
    """Logistic regression, random features with ridge, and a network of the same trained size."""
    n_classes, p = len(np.unique(images.y)), images.X.shape[1]
    width = max((n_parameters - n_classes) // (p + 1 + n_classes), 1)
    n_features = max(n_parameters // n_classes - 1, 1)
    features = FunctionTransformer(RandomFeatures(p, n_features, seed))
    return {
        "logistic regression": make_pipeline(
            unit_scaler(images), LogisticRegression(C=0.1, max_iter=100)
        ),
        f"{n_features} random features, ridge": make_pipeline(
            unit_scaler(images), features, RidgeClassifier(1.0)
        ),
        f"network of {width} neurons": network(images, (width,), seed),
    }


class RandomFeatures:
    """relu(A x + b) with normal A and b: the plain random features of one hidden layer."""

    def __init__(self, n_inputs: int, n_features: int, seed: int):
        rng = np.random.default_rng(seed)
        self.A = rng.standard_normal((n_inputs, n_features)).astype(np.float32)
        self.A *= 3 / np.sqrt(n_inputs)
        self.b = rng.standard_normal(n_features).astype(np.float32)

    def __call__(self, X):
        return np.maximum(X @ self.A + self.b, 0)


def unit_scaler(images: Images) -> FunctionTransformer:
    """Pixels from zero to one."""
    return FunctionTransformer(_times, kw_args={"factor": np.float32(1 / images.X.max())})


def _times(X, factor):
    return X * factor


def network(images: Images, hidden: tuple[int, ...], seed: int) -> Any:
    """A fully trained network, of Adam with its usual settings."""
    n_passes = max(20, 2_000_000 // len(images.X))
    mlp = MLPClassifier(hidden, batch_size=128, max_iter=n_passes, random_state=seed)
    return make_pipeline(unit_scaler(images), mlp)


def n_trained(model: Any) -> int:
    """Trained numbers of a fitted model."""
    if hasattr(model, "n_parameters_"):
        return model.n_parameters_
    last = model[-1]
    if hasattr(last, "coefs_"):
        return sum(a.size for a in [*last.coefs_, *last.intercepts_])
    return last.coef_.size + last.intercept_.size


# -- measurement ---------------------------------------------------------------------------------


def measure(name: str, model: Any, images: Images, n_validation: int = 0) -> float:
    """Fit, test and print a line; returns the accuracy on the test images."""
    X, y, options = images.X, images.y, {}
    if n_validation:
        X, y = X[:-n_validation], y[:-n_validation]
        options = {"X_val": images.X[-n_validation:], "y_val": images.y[-n_validation:]}
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        # the number of passes of a network is a budget
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, **options)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    accuracy = model.score(images.X_test, images.y_test)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    split = ""
    if hasattr(model, "controls_"):
        n_controls = model.controls_.size
        split = f" ({n_controls:,} controls + {model.n_parameters_ - n_controls:,} readout)"
    print(
        f"{name:42s} accuracy {accuracy:.2%}, {n_trained(model):,} trained numbers{split}, "
        f"{seconds:.0f} s ({cpu:.0f} s of CPU), peak memory of the process {peak:.2f} GiB",
        flush=True,
    )
    return accuracy


# -- figure --------------------------------------------------------------------------------------


def draw(model: ControlledODEClassifier, images: Images, path: Path, n_images: int = 6) -> None:
    """Images in the flow: the pixels, the channels that the flow fills, and the answer."""
    try:
        import matplotlib
    except ImportError:
        print("No figure: matplotlib is missing. pip install '.[plot]' brings it.")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = [np.flatnonzero(images.y_test == label)[0] for label in model.classes_[:n_images]]
    X = images.X_test[chosen]
    states = model.trajectory(X)
    p, side = X.shape[1], 4
    # one step of Euler: the state moves on a line from t = 0 to t = 1
    times = (0.0, 0.25, 1.0)
    figure, axes = plt.subplots(
        len(X),
        len(times) + 2,
        figsize=(8.5, 1.5 * len(X)),
        layout="constrained",
        width_ratios=[1] * (len(times) + 1) + [1.4],
        squeeze=False,
    )
    bound = np.abs(states[-1][:, p:]).max()
    for row, image, at_start, at_end, answer in zip(
        axes, X, states[0], states[-1], model.predict_proba(X), strict=True
    ):
        row[0].imshow(image.reshape(images.shape), cmap="gray_r")
        for ax, t in zip(row[1:-1], times, strict=True):
            hidden = (1 - t) * at_start[p:] + t * at_end[p:]
            ax.imshow(
                mosaic(hidden.reshape(-1, side, side)), cmap="RdBu_r", vmin=-bound, vmax=bound
            )
        row[-1].barh(np.arange(len(answer)), answer, color="#33658a")
        row[-1].set_xlim(0, 1)
        row[-1].invert_yaxis()
        row[-1].set_yticks(np.arange(len(answer)), model.classes_, size=6)
        row[-1].spines[["top", "right", "bottom"]].set_visible(False)
    for ax in axes[:, :-1].ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[:, -1]:
        ax.set_xticks([])
    titles = ["pixels", *(f"channels, t = {t:g}" for t in times), "P(class)"]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, size=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(f"Figure: {path}")


def mosaic(channels: np.ndarray) -> np.ndarray:
    """Up to 64 channels (C, g, g) side by side, with gaps."""
    channels = channels[:64]
    n, side, _ = channels.shape
    across = int(np.ceil(np.sqrt(n)))
    tiles = np.full((across * across, side + 1, side + 1), np.nan)
    tiles[:n, :side, :side] = channels
    return (
        tiles.reshape(across, across, side + 1, side + 1)
        .swapaxes(1, 2)
        .reshape(across * (side + 1), -1)[:-1, :-1]
    )


if __name__ == "__main__":
    main()
