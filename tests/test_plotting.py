"""Displays: what they compute is what the model computes, and what they draw is what they hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.calibration import CalibrationDisplay, calibration_curve
from sklearn.datasets import load_diabetes, load_iris, make_friedman1, make_moons
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import (
    DiagonalFields,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    UniversalFields,
)
from skcode.flow import flow
from skcode.geometry import hormander_rank, lie_algebra_rank
from skcode.plotting import BracketRankDisplay, ControlsDisplay, FlowDisplay, LossCurveDisplay


@pytest.fixture(scope="module")
def moons():
    return make_moons(120, noise=0.1, random_state=0)


def classifier(**kwargs):
    options = {"vector_fields": NeuralFields(rank=None), "n_fields": 6, "n_intervals": 4}
    options |= {"n_members": 1, "n_states": 2, "random_state": 0}
    return ControlledODEClassifier(**{**options, **kwargs})


@pytest.fixture(scope="module")
def model(moons):
    return classifier().fit(*moons)


@pytest.fixture(scope="module")
def ensemble(moons):
    return classifier(n_members=3).fit(*moons)


# -- the flow ------------------------------------------------------------------------------------


@pytest.mark.parametrize("integrator", ["euler", "rk4"])
@pytest.mark.parametrize("member", [0, 2])
def test_regions_at_the_start_are_those_of_the_member(moons, integrator, member):
    X, y = moons
    model = classifier(n_members=3, integrator=integrator, scaling="standard").fit(X, y)
    display = FlowDisplay.from_estimator(model, X, y, member=member, grid_resolution=9)
    alone = model.ensemble_.members[member]
    points = np.stack(np.meshgrid(*display.grid), axis=-1).reshape(-1, 2)
    # back to inputs, by the inverse of the scaling
    inputs = points / model.ensemble_.input_map.gain + model.ensemble_.input_map.center
    scores = alone.block_scores(inputs)
    assert np.array_equal(display.regions[0].ravel(), scores[:, 0] > 0)
    # at the end they are those of the readout
    final = alone.scores_of_states(points, points)
    assert np.array_equal(display.regions[-1].ravel(), final[:, 0] > 0)


def test_a_state_stays_in_its_region_along_its_path(moons, model):
    X, _ = moons
    display = FlowDisplay.from_estimator(model, X, grid_resolution=400)
    predicted = np.searchsorted(model.classes_, model.predict(X))
    for states, regions in zip(display.states, display.regions, strict=True):
        cell = [
            np.abs(axis[:, None] - coordinate).argmin(axis=0)
            for axis, coordinate in zip(display.grid, states.T, strict=True)
        ]
        # but for the width of a cell
        assert np.mean(regions[cell[1], cell[0]] == predicted) > 0.98


def test_states_and_field_are_those_of_the_model(moons, model):
    X, y = moons
    display = FlowDisplay.from_estimator(model, X, y, times=[0, 0.26, 1], field_resolution=3)
    assert display.times.tolist() == [0, 0.25, 1]
    assert np.array_equal(display.states, model.trajectory(X)[[0, 1, 4]])
    points = np.stack(np.meshgrid(*display.field_grid), axis=-1).reshape(-1, 2)
    for k, interval in enumerate([0, 1, 3]):
        expected = model.vector_fields_.combine(points, model.controls_[interval])
        assert np.allclose(display.field[k].reshape(-1, 2), expected)


def test_regression_regions_have_the_units_of_y(moons):
    X, _ = moons
    y = 100 + 50 * X[:, 0]
    model = ControlledODERegressor("neural", n_fields=4, n_members=2, random_state=0).fit(X, y)
    display = FlowDisplay.from_estimator(model, X, y, member=1, grid_resolution=30)
    assert display.classes is None
    near = np.abs(display.grid[0] - display.states[0, :, :1]).argmin(axis=1)
    up = np.abs(display.grid[1] - display.states[0, :, 1:]).argmin(axis=1)
    assert np.corrcoef(display.regions[0][up, near], y)[0, 1] > 0.99
    assert np.abs(display.regions[0][up, near] - y).max() < 25


def test_high_states_are_seen_in_the_plane_through_their_mean(moons):
    X, y = moons
    model = classifier(n_states=5, n_intervals=2).fit(X, y)
    display = FlowDisplay.from_estimator(model, X, y, coordinates=(1, 3), field_resolution=3)
    states = model.trajectory(X)
    assert np.array_equal(display.states, states[:, :, [1, 3]])
    point = states[1].mean(axis=0)
    point[[1, 3]] = display.field_grid[0][2], display.field_grid[1][0]
    expected = model.vector_fields_.combine(point[None], model.controls_[1])[0]
    assert np.allclose(display.field[1][0, 2], expected[[1, 3]])
    assert display.names == ("state 1", "state 3")


def test_three_classes_names_searches_and_pipelines():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = ControlledODEClassifier(n_fields=4, n_members=1, random_state=0)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), model)
    grid = {"controlledodeclassifier__n_fields": [4]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, names)
    display = FlowDisplay.from_estimator(search, X, names, coordinates=(2, 3))
    assert display.names == ("state petal length (cm)", "state petal width (cm)")
    assert display.classes == ["setosa", "versicolor", "virginica"]
    assert np.array_equal(display.target, y)
    scaled = search.best_estimator_[0].transform(X)
    inner = search.best_estimator_[-1]
    assert np.array_equal(display.states[0], inner.trajectory(scaled)[0][:, [2, 3]])


def test_the_readout_chooses_the_plane_of_many_states():
    X, y = load_iris(return_X_y=True)
    model = ControlledODEClassifier(n_members=1, random_state=2).fit(X, y)
    display = FlowDisplay.from_estimator(model, X, y, grid_resolution=60)
    assert display.names == ("readout direction 1", "readout direction 2")
    # where the plane has the samples it predicts what the model does
    assert display.fidelity.min() > 0.9
    cell = [
        np.abs(axis[:, None] - coordinate).argmin(axis=0)
        for axis, coordinate in zip(display.grid, display.states[0].T, strict=True)
    ]
    assert np.mean(display.regions[0][cell[1], cell[0]] == model.predict(X)) > 0.9
    # without y the colours are those of the predictions
    alone = FlowDisplay.from_estimator(model, X, grid_resolution=10)
    assert np.array_equal(alone.target, model.predict(X))


def test_directions_are_those_of_a_linear_readout():
    X, y = make_friedman1(200, random_state=0)
    options = {"readout": "linear", "n_members": 1, "random_state": 0}
    model = ControlledODERegressor(**options).fit(X, y)
    with pytest.warns(UserWarning, match="No plane shows") as told:
        display = FlowDisplay.from_estimator(model, X, y, grid_resolution=10)
    assert told[0].filename == __file__
    assert display.fidelity[-1] == pytest.approx(1)
    # along the first one lies the prediction
    correlation = np.corrcoef(display.states[-1][:, 0], model.predict(X))[0, 1]
    assert abs(correlation) == pytest.approx(1)
    assert np.isnan(display.regions[0]).all()
    assert np.isfinite(display.regions[-1]).all()


def test_legend_and_bar_say_what_colours_mean(moons, model):
    X, y = moons
    display = FlowDisplay.from_estimator(model, X, y, grid_resolution=10)
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1"]
    assert not display.plot(key=False).figure_.legends
    _, ax = plt.subplots()
    assert len(display.plot(ax).ax_.get_legend().get_texts()) == 2
    numbers = ControlledODERegressor("neural", n_fields=4, n_members=1, random_state=0).fit(X, y)
    display = FlowDisplay.from_estimator(numbers, X, grid_resolution=10, coordinates=(0, 1))
    assert display.figure_.axes[-1].get_ylabel() == "prediction"


def test_what_has_no_regions(moons):
    X, y = moons
    displacement = classifier(readout="displacement").fit(X, y)
    transformer = ControlledODETransformer("neural", n_fields=4, random_state=0).fit(X)
    labels = np.stack([y, 1 - y], axis=1)
    multilabel = classifier().fit(X, labels)
    for model in (displacement, transformer, multilabel):
        display = FlowDisplay.from_estimator(model, X, y if model is displacement else None)
        assert display.regions is None
        assert all(len(panel.collections) == 1 for panel in display.ax_)
    with pytest.raises(ValueError, match="y must have shape"):
        FlowDisplay.from_estimator(multilabel, X, labels)


def test_from_controls_is_the_flow():
    rng = np.random.default_rng(0)
    fields = LinearFields().draw(3, 2, rng=0)
    x, controls = rng.standard_normal((5, 3)), rng.standard_normal((50, 2))
    display = FlowDisplay.from_controls(
        fields, x, controls, integrator="rk4", n_steps=2, coordinates=(2, 0)
    )
    end = flow(fields, x, controls, "rk4", n_steps=2)
    assert np.array_equal(display.states[-1], end[:, [2, 0]])
    assert len(display.times) == 21
    assert display.regions is None
    assert FlowDisplay.from_controls(fields, x, controls, y=x[:, 0]).classes is None
    assert FlowDisplay.from_controls(fields, x, controls, y=list("ababa")).classes == ["a", "b"]


def test_panels_layers_and_axes(moons, model):
    X, y = moons
    display = FlowDisplay.from_estimator(model, X, y)
    assert [panel.get_title() for panel in display.ax_] == [f"t = {t:g}" for t in display.times]
    assert np.array_equal(display.ax_[2].collections[-1].get_offsets(), display.states[2])
    _, ax = plt.subplots()
    assert display.plot(ax, paths=True, field=True) is display
    assert display.ax_ is ax
    assert ax.get_title() == "t = 1"
    quiver, *_, paths, points = sorted(ax.collections, key=lambda artist: artist.get_zorder())[-3:]
    assert quiver.N == 20 * 20
    assert np.array_equal(np.array(paths.get_segments())[:, :-1], display.states.swapaxes(0, 1))
    assert len(points.get_offsets()) == len(X)
    plain = display.plot(time=0.5, points=False, regions=False).ax_
    assert plain.get_title() == "t = 0.5"
    assert len(plain.collections) == 0
    with pytest.raises(ValueError, match="2 axes do not fit 3 times"):
        display.plot(plt.subplots(1, 2)[1], time=[0, 0.5, 1])
    with pytest.raises(ValueError, match="moments in"):
        FlowDisplay.from_estimator(model, X, times=[0, 2])
    with pytest.raises(ValueError, match="times do not fit"):
        FlowDisplay(times=[0, 1], states=display.states)


def test_styles_reach_the_artists(moons, model):
    X, y = moons
    display = FlowDisplay.from_estimator(
        model, X, y, time=1, paths=True, scatter_kw={"s": 50}, path_kw={"linewidths": 3}
    )
    artists = sorted(display.ax_.collections, key=lambda artist: artist.get_zorder())
    assert artists[-1].get_sizes().tolist() == [50]
    assert artists[-2].get_linewidths().tolist() == [3]


def test_the_animation_moves_on_straight_lines(moons, model, tmp_path):
    X, y = moons
    display = FlowDisplay.from_estimator(model, X, y, grid_resolution=10)
    animation = display.animate(frames_between=2, paths=True)
    assert animation._save_count == 4 * 2 + 1
    animation._func(3)
    (ax,) = display.figure_.axes
    middle = (display.states[1] + display.states[2]) / 2
    assert np.allclose(ax.collections[-1].get_offsets(), middle)
    assert ax.get_title() == "t = 0.38"
    animation._func(8)
    assert np.allclose(ax.collections[-1].get_offsets(), display.states[-1])
    assert ax.get_legend() is not None
    path = tmp_path / "flow.gif"
    animation.save(path, writer="pillow", dpi=20)
    assert path.read_bytes().startswith(b"GIF89a")
    assert animation._save_count == 9
    smooth = display.animate()
    assert smooth._save_count == 41
    smooth._draw_was_started = True  # matplotlib warns of animations that nobody looks at


def test_an_explosion_on_the_grid_leaves_a_hole_in_the_regions(moons):
    X, y = moons
    family = PolynomialFields(degree=3)
    model = classifier(vector_fields=family, scaling="standard", n_intervals=8).fit(X, y)
    model.controls_ = 1e4 * np.abs(model.controls_)
    display = FlowDisplay.from_estimator(model, X, y, grid_resolution=20, field=True)
    assert np.isnan(display.regions[0]).any()
    display.figure_.canvas.draw()


# -- the other displays --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heatmap", "steps"])
def test_controls_are_drawn_as_they_are(ensemble, kind):
    display = ControlsDisplay.from_estimator(ensemble, member=1, kind=kind)
    assert np.array_equal(display.controls, ensemble.controls_[1])
    if kind == "heatmap":
        # flat before matplotlib 3.8
        drawn = np.asarray(display.artists_[0].get_array()).reshape(ensemble.controls_[1].T.shape)
        assert np.array_equal(drawn, ensemble.controls_[1].T)
        low, high = display.artists_[0].get_clim()
        assert low == -high == -np.abs(ensemble.controls_[1]).max()
    else:
        values = [artist.get_data().values for artist in display.artists_]
        assert np.array_equal(np.transpose(values), ensemble.controls_[1])
        assert display.artists_[0].get_data().edges.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_controls_name_ramps_by_their_columns(moons):
    X, y = moons
    frame = pd.DataFrame(X, columns=["east", "north"]).assign(west=X[:, 0] > 0)
    model = classifier(vector_fields=DiagonalFields(), n_fields=5, n_states=5, ramps=True)
    display = ControlsDisplay.from_estimator(model.fit(frame, y))
    ramps = ["east (1 of 2)", "east (2 of 2)", "north (1 of 2)", "north (2 of 2)", "west"]
    assert display.labels == [f"diagonal[{name}]" for name in ramps]


def test_controls_name_inputs_and_families(moons):
    X, y = moons
    frame = pd.DataFrame(X, columns=["east", "north"])
    family = DiagonalFields() | NeuralFields()
    model = classifier(vector_fields=family, n_fields=40).fit(frame, y)
    display = ControlsDisplay.from_estimator(model)
    assert display.labels[:3] == ["diagonal[east]", "diagonal[north]", "neural[0]"]
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["east", "north", "neural (40)"]
    # rows of inputs are higher, for their names
    heights = np.diff(display._row_edges())
    assert heights[0] == heights[1] > 1.5 * heights[2]
    legend = display.plot(kind="steps").ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["diagonal", "neural"]
    display = ControlsDisplay(controls=np.zeros((2, 3)))
    assert [label.get_text() for label in display.plot().ax_.get_yticklabels()] == display.labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(120, 7)}, "y holds 7, which is none of the classes"),
        ({"y": np.full(120, "a")}, "y holds 'a'"),
        ({"y": np.zeros(5, dtype=int)}, "inconsistent numbers of samples"),
        ({"coordinates": (0, 99)}, "coordinates="),
        ({"coordinates": (-1, 0)}, "coordinates="),
        ({"coordinates": (0.5, 1)}, "coordinates="),
        ({"coordinates": (0, 1, 1)}, "coordinates="),
        ({"times": []}, "times must be moments"),
        ({"times": [np.nan]}, "times must be moments"),
        ({"grid_resolution": 1}, "grid_resolution == 1"),
        ({"field_resolution": 0}, "field_resolution == 0"),
        ({"time": 5.0}, "time must be moments"),
        ({"time": np.nan}, "time must be moments"),
        ({"member": True}, "member=True"),
    ],
)
def test_flows_refuse(moons, model, change, message):
    with pytest.raises(ValueError, match=message):
        FlowDisplay.from_estimator(model, moons[0], **change)


def test_a_flow_that_explodes_is_not_drawn():
    fields = LinearFields().draw(2, 4, rng=0)
    with pytest.raises(ValueError, match="explodes"):
        FlowDisplay.from_controls(fields, np.ones((3, 2)), np.full((3, 4), 1e200))


def test_one_sample_of_many_states_is_drawn(moons):
    model = ControlledODEClassifier(n_fields=8, n_members=1, random_state=0).fit(*moons)
    display = FlowDisplay.from_estimator(model, moons[0][:1])
    assert np.isfinite(display.states).all()


def test_what_has_no_controls_is_of_the_wrong_type(moons):
    with pytest.raises(TypeError, match="StandardScaler has no controls"):
        ControlsDisplay.from_estimator(StandardScaler().fit(moons[0]))
    with pytest.raises(ValueError, match="fitted without y"):
        LossCurveDisplay.from_estimator(ControlledODETransformer(n_fields=4).fit(moons[0]))


def test_controls_refuse(model):
    with pytest.raises(ValueError, match="must have shape"):
        ControlsDisplay(controls=np.zeros(3))
    with pytest.raises(ValueError, match="must name 3 fields"):
        ControlsDisplay(controls=np.zeros((2, 3)), labels=["a"])
    with pytest.raises(ValueError, match="kind='pie'"):
        ControlsDisplay.from_estimator(model, kind="pie")
    with pytest.raises(ValueError, match="member=1"):
        ControlsDisplay.from_estimator(model, member=1)
    with pytest.raises(NotFittedError):
        ControlsDisplay.from_estimator(classifier())


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_loss_curves_are_those_of_the_fit(moons, n_members, early_stopping):
    model = classifier(n_members=n_members, early_stopping=early_stopping).fit(*moons)
    display = LossCurveDisplay.from_estimator(model)
    curves = model.loss_curve_ if n_members > 1 else [model.loss_curve_]
    drawn = [line.get_ydata().tolist() for line in display.lines_]
    assert drawn == curves
    assert display.lines_[0].get_xdata().tolist() == list(range(1, len(curves[0]) + 1))
    watched = model.validation_loss_curve_ if n_members > 1 else [model.validation_loss_curve_]
    drawn = [line.get_ydata().tolist() for line in display.validation_lines_]
    assert drawn == (watched if early_stopping else [])
    # a dot each at the lowest validation loss, or at the highest evidence
    dots = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert display.kind == "evidence"
    assert [dot.get_ydata()[0] for dot in dots] == [
        min(curve) for curve in (watched if early_stopping else curves)
    ]


def test_what_a_fit_by_evidence_draws_falls():
    X, y = load_diabetes(return_X_y=True)
    model = ControlledODERegressor(n_fields=16, n_members=1, random_state=0).fit(X, y)
    (curve,) = LossCurveDisplay.from_estimator(model).losses
    assert np.all(np.diff(curve[:6]) < 0)
    # with a penalty of one's own it is loss plus penalty
    model.set_params(alpha=1e-3, max_iter=3)
    with pytest.warns(ConvergenceWarning):
        assert LossCurveDisplay.from_estimator(model.fit(X, y)).kind == "objective"
    with pytest.raises(ValueError, match="kind='pie'"):
        LossCurveDisplay(losses=[[1.0]], kind="pie")


def test_one_member_of_the_loss_curves(ensemble):
    display = LossCurveDisplay.from_estimator(ensemble, member=2)
    assert [curve.tolist() for curve in display.losses] == [ensemble.loss_curve_[2]]
    with pytest.raises(ValueError, match="member=3"):
        LossCurveDisplay.from_estimator(ensemble, member=3)
    with pytest.raises(ValueError, match="a curve for each"):
        LossCurveDisplay(losses=[[1.0]], validation_losses=[])


def test_bracket_ranks_are_those_of_the_geometry():
    fields = UniversalFields().draw(n_states=2, rng=0)
    X = np.random.default_rng(0).uniform(size=(4, 2))
    result = hormander_rank(fields, X, depth=4)
    display = BracketRankDisplay.from_fields(fields, X, depth=4, label="five")
    assert display.lines_[0].get_ydata().tolist() == list(result.ranks)
    assert display.ax_.lines[1].get_ydata()[0] == X.size
    other = BracketRankDisplay.from_result(lie_algebra_rank(fields, X[0], 3), ax=display.ax_)
    assert other.dimension == 2
    assert other.lines_[0].get_color() != display.lines_[0].get_color()
    lines = display.plot(kind="singular values").lines_
    for line, values, tol in zip(lines, result.singular_values, result.tolerances, strict=True):
        assert np.allclose(line.get_ydata(), values / tol)


def test_bracket_ranks_of_a_model(moons, ensemble):
    X, _ = moons
    display = BracketRankDisplay.from_estimator(ensemble, X[:3], depth=2, member=1)
    start = ensemble.trajectory(X[:3], 1)[0]
    expected = hormander_rank(ensemble.vector_fields_[1], start, depth=2)
    assert display.ranks.tolist() == list(expected.ranks)
    exact = hormander_rank(LinearFields().draw(2, 2, 0), X[:2], depth=2, exact=True)
    with pytest.raises(ValueError, match="exact arithmetic"):
        BracketRankDisplay.from_result(exact, kind="singular values")
    with pytest.raises(ValueError, match="kind='pie'"):
        BracketRankDisplay.from_result(exact, kind="pie")


# -- displays of scikit-learn --------------------------------------------------------------------


def test_calibration_display_draws_our_probabilities(moons, ensemble):
    X, y = moons
    display = CalibrationDisplay.from_estimator(ensemble, X, y, n_bins=5)
    true, predicted = calibration_curve(y, ensemble.predict_proba(X)[:, 1], n_bins=5)
    assert np.array_equal(display.prob_true, true)
    assert np.array_equal(display.prob_pred, predicted)


def test_decision_boundary_display_draws_our_classes(moons, ensemble):
    X, _ = moons
    display = DecisionBoundaryDisplay.from_estimator(
        ensemble, X, response_method="predict", grid_resolution=12
    )
    points = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    assert np.array_equal(display.response.ravel(), ensemble.predict(points))
