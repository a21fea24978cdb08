"""Images with a fraction of the parameters: frozen filters, trained controls, a small readout.

Without arguments this learns the 8 x 8 digits that come with scikit-learn, in a few seconds. The
full MNIST, or any other set of images, comes from a file or from OpenML. With --curve the accuracy
is measured over the number of trained numbers, beside the same model with frozen controls and
rivals; results are kept in a file, and what is in it is not run again.

    python examples/mnist.py
    python examples/mnist.py --data mnist.npz --parameters 30000
    python examples/mnist.py --openml mnist_784 --curve --results curve.csv --figure curve.png
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from sklearn.datasets import fetch_openml, load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skcode import ControlledODEClassifier
from skcode.fields import FilterFields, MixingFields
from skcode.images import PatchFilters, ShiftedImagesClassifier
from skcode.solvers import Adam

#: most trained numbers of the models of a curve
BUDGETS = (1000, 3000, 10_000, 30_000, 100_000)
#: numbers of a member at least, and most members: where there are more numbers, several members,
#: each with filters of its own, do better than one large one
MEMBER = 15_000
MOST_MEMBERS = 4
#: the same of frozen ones, which do better the wider they are: a bound on the time
FROZEN_MEMBER = 30_000
#: sides of the filters in pixels, the members taking turns
KERNEL_SIZES = (5, 3)
#: numbers below which a model is small: it has fewer colours, and trains for longer
SMALL = 5000
#: copies of each image, shifted by a pixel, that mixed filters learn from
N_COPIES = 2


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
    if args.curve:
        curve(images, args)
        return
    model = mixing_model(images, args.parameters, args.passes, args.seed, args.n_jobs, args.verbose)
    measure("mixed filters, trained controls", model, images)
    print("rows: true classes, columns: predicted")
    print(confusion_matrix(images.y_test, model.predict(images.X_test)))
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
        draw_flow(model, images, args.figure)


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all measurements on images share."""
    parser = argparse.ArgumentParser(description=description)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help=".npz with X (n, pixels) and y; see --test")
    source.add_argument("--openml", help="name of a data set on OpenML, such as mnist_784")
    parser.add_argument("--test", type=int, default=10_000, help="the last rows are for testing")
    parser.add_argument("--rows", type=int, help="learn from the first rows only")
    parser.add_argument("--parameters", type=int, default=1000, help="most numbers to train")
    parser.add_argument("--passes", type=int, help="over the data, those over copies counted")
    parser.add_argument("--curve", action="store_true", help="all budgets, frozen and rivals")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="of the curve")
    parser.add_argument("--learners", nargs="+", help="rows of the curve, by how they begin")
    parser.add_argument("--results", type=Path, help="file in which a curve is kept, and resumed")
    parser.add_argument("--compare", action="store_true", help="rivals of the same trained size")
    parser.add_argument("--reference", action="store_true", help="the standard trained network")
    parser.add_argument("--n-jobs", type=int, help="workers, as in joblib")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument(
        "--figure", type=Path, help="where to draw images in the flow, or the curve"
    )
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


def passes_over(images: Images, n_passes: int | None, least: int = 12) -> int:
    """Passes over the data: `least` of many images, and 2,000 minibatches of few."""
    return n_passes or max(least, 200_000 // len(images.X))


def mixing_model(
    images: Images,
    n_parameters: int,
    n_passes: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
    train_controls: bool = True,
) -> ShiftedImagesClassifier:
    """Frozen filters of the pixels, mixed by controls in three intervals; members vote.

    A third of the passes are over the images themselves, and the others over shifted copies.
    """
    n_members = max(n_parameters // (MEMBER if train_controls else FROZEN_MEMBER), 1)
    n_members = min(n_members, MOST_MEMBERS)
    small = n_parameters < SMALL
    n_passes = passes_over(images, n_passes, 36 if small else 24)
    members = []
    for number in range(n_members):
        classifier = mixing_classifier(images, n_parameters // n_members, train_controls)
        classifier.set_params(
            max_iter=-(-n_passes // (1 + N_COPIES)),
            n_jobs=n_jobs,
            random_state=seed + number,
            verbose=verbose,
        )
        grid, _, n_colours = classifier.vector_fields.image_shape
        filters = PatchFilters(
            images.shape,
            n_colours,
            KERNEL_SIZES[number % len(KERNEL_SIZES)] if images.shape[0] >= 21 else 3,
            grid,
            # where colours are many, every other one is a root
            exponent=1.0 if small else (1.0, 0.5),
            n_jobs=n_jobs,
            random_state=seed + number,
        )
        members.append((f"member {number}", make_pipeline(filters, classifier)))
    voters = members[0][1] if n_members == 1 else VotingClassifier(members, voting="soft")
    return ShiftedImagesClassifier(voters, images.shape, N_COPIES, random_state=seed)


def mixing_classifier(
    images: Images, n_parameters: int, train_controls: bool
) -> ControlledODEClassifier:
    """One member: as many channels as the number of trained numbers allows.

    With frozen controls these are the weights of the readout alone, and there are more channels.
    """
    n_classes, side = len(np.unique(images.y)), images.shape[0]
    grid = 7 if side >= 21 else side // 2
    # half as many colours where channels are few
    n_colours = 64 if n_parameters < SMALL else 128

    def family(n_channels: int) -> MixingFields:
        # frozen channels are many, and one filter of each has the same cost
        n_filters = 4 if train_controls else 1
        return MixingFields((grid, grid, n_colours), n_channels, n_filters, pooling=min(3, grid))

    def n_trained(n_channels: int) -> int:
        fields = family(n_channels)
        readout = n_classes * (n_channels * fields.pooling**2 + 1)
        mixing = n_channels * (n_colours + 2 * n_channels * fields.n_filters + 3)
        return readout + (mixing if train_controls else 0)

    n_channels = 1
    while n_trained(n_channels + 1) <= n_parameters:
        n_channels += 1
    if n_trained(n_channels) > n_parameters:
        raise SystemExit(f"--parameters must be at least {n_trained(1)}")
    mixing = family(n_channels)
    return ControlledODEClassifier(
        mixing,
        n_intervals=3,
        n_states=mixing.n_states(),
        n_members=1,
        scaling="common",
        solver=Adam("cosine", learning_rate_init=0.03, beta_2=0.99, batch_size=100),
        # a prior that weighs as much however many the images are
        alpha=min(1e-3, 10 / len(images.X)),
        tol=0.0,
        train_controls=train_controls,
    )


def filter_model(
    images: Images,
    n_parameters: int,
    n_passes: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
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
        max_iter=passes_over(images, n_passes),
        tol=0.0,
        n_jobs=n_jobs,
        random_state=seed,
        verbose=verbose,
    )


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
        "random features, ridge": make_pipeline(
            unit_scaler(images), features, RidgeClassifier(1.0)
        ),
        "network of one hidden layer": network(images, (width,), seed),
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


# -- measurement ---------------------------------------------------------------------------------


class Measured(NamedTuple):
    """One learner of one budget on the images of a run."""

    learner: str
    budget: int
    accuracy: float
    n_trained: int
    n_controls: int
    seconds: float
    cpu_seconds: float


def measure(name: str, model: Any, images: Images, budget: int = 0) -> Measured:
    """Fit, test and print a line."""
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        # the number of passes of a network is a budget
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(images.X, images.y)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    accuracy = model.score(images.X_test, images.y_test)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total, n_controls = n_trained(model)
    split = f" ({n_controls:,} controls + {total - n_controls:,} readout)" if n_controls else ""
    print(
        f"{name:42s} accuracy {accuracy:.2%}, {total:,} trained numbers{split}, "
        f"{seconds:.0f} s ({cpu:.0f} s of CPU), peak memory of the process {peak:.2f} GiB",
        flush=True,
    )
    return Measured(name, budget, accuracy, total, n_controls, seconds, cpu)


def n_trained(model: Any) -> tuple[int, int]:
    """Trained numbers of a fitted model, and how many of them are controls."""
    if isinstance(model, ShiftedImagesClassifier):
        total, n_controls = zip(*map(n_trained, members_of(model)), strict=True)
        return sum(total), sum(n_controls)
    last = model[-1] if isinstance(model, Pipeline) else model
    if isinstance(last, ControlledODEClassifier):
        if last.train_controls:
            controls = sum(m.model.n_acting_controls for m in last.ensemble_.members)
            return last.n_parameters_, controls
        return sum(m.parameters.size for m in last.ensemble_.members), 0
    if hasattr(last, "coefs_"):
        return sum(a.size for a in [*last.coefs_, *last.intercepts_]), 0
    return last.coef_.size + last.intercept_.size, 0


def members_of(model: ShiftedImagesClassifier) -> list[Pipeline]:
    """The fitted members of mixed filters."""
    fitted = model.estimator_
    return fitted.estimators_ if isinstance(fitted, VotingClassifier) else [fitted]


def curve(images: Images, args: argparse.Namespace) -> None:
    """One line for each budget and learner, and a figure of them."""
    measured = read_results(args.results)
    for budget in args.budgets:
        print(f"-- at most {budget:,} trained numbers")
        for name, make in learners(images, budget, args).items():
            if args.learners and not name.startswith(tuple(args.learners)):
                continue
            if any(m.learner == name and m.budget == budget for m in measured):
                continue
            measured.append(measure(name, make(), images, budget))
            if args.results:
                write_results(measured, args.results)
    print_curve(measured)
    if args.figure:
        draw_curve(measured, args.figure)


def learners(images: Images, budget: int, args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """What a curve compares at a budget, each made when it is needed."""
    options = (args.passes, args.seed, args.n_jobs, args.verbose)
    ours = {
        "mixed filters, trained controls": lambda: mixing_model(images, budget, *options),
        "mixed filters, frozen controls": lambda: mixing_model(images, budget, *options, False),
        "filters, trained controls": lambda: filter_model(images, budget, *options),
    }
    if budget == max(args.budgets):
        # its size follows the data: it stands beside the curve
        ours["Gaussian process"] = lambda: make_pipeline(
            unit_scaler(images), ControlledODEClassifier(random_state=args.seed)
        )
    return ours | {
        name: lambda model=model: model for name, model in rivals(images, budget, args.seed).items()
    }


def read_results(path: Path | None) -> list[Measured]:
    """What a file holds of a curve."""
    if path is None or not path.exists():
        return []
    with path.open(newline="") as file:
        # names of types, as annotations of a named tuple are, do not tell a type
        kinds = get_type_hints(Measured)
        return [
            Measured(**{name: kinds[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def write_results(measured: list[Measured], path: Path) -> None:
    """All of a curve so far."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Measured._fields)
        writer.writerows(measured)


def print_curve(measured: list[Measured]) -> None:
    """Accuracies as a table: a row for each learner, a column for each budget."""
    budgets = sorted({m.budget for m in measured})
    print(f"{'at most':34s}" + "".join(f"{budget:>10,}" for budget in budgets))
    for name in dict.fromkeys(m.learner for m in measured):
        found = {m.budget: f"{m.accuracy:.2%}" for m in measured if m.learner == name}
        print(f"{name:34s}" + "".join(f"{found.get(budget, ''):>10s}" for budget in budgets))


# -- figure --------------------------------------------------------------------------------------


def pyplot() -> Any:
    """Matplotlib without a screen; None where it is missing."""
    try:
        import matplotlib
    except ImportError:
        print("No figure: matplotlib is missing. pip install '.[plot]' brings it.")
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: Path) -> None:
    """Write a figure, in a folder that may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Figure: {path}")


def draw_curve(measured: list[Measured], path: Path) -> None:
    """Error on the test images over trained numbers, both on logarithmic axes."""
    plt = pyplot()
    if plt is None:
        return
    figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    styles = {
        "mixed filters, trained controls": {"color": "#b3412e", "lw": 2.4},
        "mixed filters, frozen controls": {"color": "#b3412e", "lw": 1.4, "ls": "--"},
        "filters, trained controls": {"color": "#33658a", "lw": 1.4},
        "random features, ridge": {"color": "#6b7280", "lw": 1.2},
        "network of one hidden layer": {"color": "#6b7280", "lw": 1.2, "ls": "--"},
    }
    for name in dict.fromkeys(m.learner for m in measured):
        points = sorted((m.n_trained, 1 - m.accuracy) for m in measured if m.learner == name)
        if name in styles:
            ax.plot(*zip(*points, strict=True), marker="o", ms=4, label=name, **styles[name])
        elif name == "Gaussian process":
            ax.axhline(points[0][1], color="#2f7d4f", lw=1.2, ls=":", label=name)
        else:
            ax.plot(*points[0], "s", color="black", ms=5, label=name)
    ax.set(xscale="log", yscale="log", xlabel="trained numbers", ylabel="error on test images")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    ax.grid(which="both", color="#e4e7ec", lw=0.5)
    ax.legend(frameon=False, fontsize=8)
    save(figure, path)
    plt.close(figure)


def draw_flow(
    model: ShiftedImagesClassifier, images: Images, path: Path, n_images: int = 6
) -> None:
    """Images in the flow: the pixels, the channels that the flow fills, and the answer."""
    plt = pyplot()
    if plt is None:
        return
    first = members_of(model)[0]
    filters, classifier = first[:-1], first[-1]
    grid = classifier.vector_fields.image_shape[0]
    chosen = [np.flatnonzero(images.y_test == label)[0] for label in model.classes_[:n_images]]
    X = images.X_test[chosen]
    colours = filters.transform(X)
    states = classifier.trajectory(colours)[1:, :, colours.shape[1] :]
    n_intervals = len(states)
    figure, axes = plt.subplots(
        len(X),
        n_intervals + 2,
        figsize=(1.7 * (n_intervals + 2), 1.5 * len(X)),
        layout="constrained",
        width_ratios=[1] * (n_intervals + 1) + [1.4],
        squeeze=False,
    )
    # one pixel of a thousand may be brighter
    bounds = np.quantile(np.abs(states), 0.999, axis=(1, 2))
    for i, (row, answer) in enumerate(zip(axes, model.predict_proba(X), strict=True)):
        row[0].imshow(X[i].reshape(images.shape), cmap="gray_r")
        for ax, state, bound in zip(row[1:-1], states, bounds, strict=True):
            channels = mosaic(state[i].reshape(-1, grid, grid))
            ax.imshow(channels, cmap="RdBu_r", vmin=-bound, vmax=bound)
        row[-1].barh(np.arange(len(answer)), answer, color="#33658a")
        row[-1].set_xlim(0, 1)
        row[-1].invert_yaxis()
        row[-1].set_yticks(np.arange(len(answer)), model.classes_, size=6)
        row[-1].spines[["top", "right", "bottom"]].set_visible(False)
        row[-1].set_xticks([])
    for ax in axes[:, :-1].ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    times = [f"channels, t = {k + 1}/{n_intervals}" for k in range(n_intervals - 1)]
    for ax, title in zip(axes[0], ["pixels", *times, "channels, t = 1", "P(class)"], strict=True):
        ax.set_title(title, size=9)
    save(figure, path)
    plt.close(figure)


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
