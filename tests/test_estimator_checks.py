"""scikit-learn's own contract, with no expected failure, for every estimator and every solver."""

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.estimators._base import FAMILIES
from skcode.readouts import READOUTS
from skcode.solvers import LBFGS, SGD, SOLVERS, Adam, GaussNewton

ESTIMATORS = (ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer)

# one small model a fit, and few passes: the checks fit hundreds of times
SIZES = {"n_fields": 8, "max_iter": 50}
SMALL = {**SIZES, "n_members": 1}
#: passes that lead to the scores that the checks ask for; the transformer is asked for none
STEPS = {"gauss-newton": 15, "lbfgs": 15, "sgd": 50, "adam": 50}
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SPECIFIED = [
    {"solver": GaussNewton(patience=1), "alpha": 1e-2, "max_iter": 10},
    {
        "solver": LBFGS(memory=5),
        "readout": "displacement",
        "vector_fields": "neural",
        "n_fields": 16,
    },
    {"solver": SGD(learning_rate="cosine", batch_size=32), "integrator": "heun", "max_iter": 30},
    {"solver": Adam(shuffle=False, batch_size=32), "early_stopping": True},
]


@pytest.mark.slow
@parametrize_with_checks([estimator() for estimator in ESTIMATORS])
def test_defaults(estimator, check):
    check(estimator)


@unconverged
@parametrize_with_checks(
    [
        estimator(solver=solver, n_fields=8, n_members=1, max_iter=STEPS[solver])
        for estimator in ESTIMATORS[:2]
        for solver in SOLVERS
    ]
    + [ControlledODETransformer(solver=solver, n_fields=8, max_iter=5) for solver in SOLVERS]
)
def test_every_solver(estimator, check):
    check(estimator)


@unconverged
@parametrize_with_checks(
    [ControlledODERegressor(**{**SMALL, **specified}) for specified in SPECIFIED]
    + [ControlledODEClassifier(**{**SMALL, **SPECIFIED[0]}, scaling="standard")]
    + [ControlledODEClassifier(**SMALL, train_controls=False, readout="linear")]
    + [ControlledODETransformer(**SIZES, train_controls=False)]
)
def test_specified(estimator, check):
    check(estimator)


#: rates that lead all the way in few passes; how far it is differs by family
SGD_RATES = {(ControlledODEClassifier, "universal"): 0.3, (ControlledODERegressor, "affine"): 0.03}
ADAM_RATES = {(ControlledODERegressor, "affine"): 0.03}


@pytest.mark.slow
@unconverged
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("family", [None, *FAMILIES])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_combination(estimator, family, readout, solver):
    small = SIZES if estimator is ControlledODETransformer else SMALL
    if readout == "displacement":
        # one number in the readout: the controls do all the work, and need to be more
        small = {**small, "n_fields": 32}
        # ... and have all the way to go in few passes, however slow the first of them are
        kind = estimator, family
        fast = {
            "sgd": SGD(learning_rate_init=SGD_RATES.get(kind, 0.1)),
            "adam": Adam(learning_rate_init=ADAM_RATES.get(kind, 0.1)),
        }
        if solver in fast:
            solver, small["tol"] = fast[solver], 0.0
    # the checks bring up to 30 features
    model = estimator(vector_fields=family, readout=readout, solver=solver, **small, n_states=32)
    check_estimator(model, on_skip=None)
