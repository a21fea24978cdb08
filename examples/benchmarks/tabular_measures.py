"""What the tabular benchmark measures of a fitted learner."""

import inspect
import time

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import r2_score

SMALLEST_PROBABILITY = 1e-7  # log-loss clips here: about float32's resolution
N_CALIBRATION_BINS = 15
N_CALIBRATION_FOLDS = 5
NORMAL_QUANTILE_95 = 1.6448536269514722  # 90 % of a normal law lie within so many deviations
N_QUARTERS = 4
QUARTERS = [f"coverage_q{k + 1}" for k in range(N_QUARTERS)]
MEASURES = ["score", "log_loss", "ece", "coverage", *QUARTERS, "fit_s", "predict_s"]


def log_loss(y, proba):
    """Mean negative log-likelihood with clipped probabilities, in nats."""
    likelihood = proba[np.arange(len(y)), y]
    return -np.mean(np.log(np.clip(likelihood, SMALLEST_PROBABILITY, 1.0)))


def calibration_error(y, proba):
    """Expected calibration error of the top probability, equal-width bins."""
    confidence = proba.max(axis=1)
    surplus = confidence - (proba.argmax(axis=1) == y)
    bins = np.minimum(confidence * N_CALIBRATION_BINS, N_CALIBRATION_BINS - 1)
    return np.abs(np.bincount(bins.astype(int), surplus)).sum() / len(y)


def coverages(y, y_pred, std):
    """How often 90 % intervals cover the target: everywhere, and by quarter of the deviation.

    The first quarter has the rows of the smallest predicted deviation. Intervals that are right on
    average, but too wide where the noise is small and too narrow where it is large, show there.
    """
    covered = np.abs(y - y_pred) <= NORMAL_QUANTILE_95 * std
    quarters = np.array_split(covered[np.argsort(std, kind="stable")], N_QUARTERS)
    measured = {"coverage": np.mean(covered)}
    return measured | {
        name: np.mean(rows) for name, rows in zip(QUARTERS, quarters, strict=True) if len(rows)
    }


def probabilities(model, make_model, X_train, y_train, X_test):
    """Class probabilities of a fitted model, one column for each training class.

    A model without ``predict_proba`` is calibrated by five-fold cross-validation, with fewer folds
    where a class is rarer than that; a class of one row is left out and gets probability 0.
    """
    proba = np.zeros((len(X_test), y_train.max() + 1))
    if not hasattr(model, "predict_proba"):
        class_size = np.bincount(y_train)[y_train]
        X_train, y_train = X_train[class_size > 1], y_train[class_size > 1]
        n_folds = min(N_CALIBRATION_FOLDS, class_size[class_size > 1].min())
        model = CalibratedClassifierCV(make_model(), ensemble=False, cv=int(n_folds))
        model.fit(X_train, y_train)
    proba[:, model.classes_] = model.predict_proba(X_test)
    if not np.isfinite(proba).all():
        raise ValueError("predict_proba returned non-finite values")
    return proba


def evaluate(make_model, task, X_train, X_test, y_train, y_test):
    """Fit, predict and score; returns the measured columns of a result."""
    model = make_model()
    # seconds of the processor: on one thread they are the time of an idle machine
    start = time.process_time()
    model.fit(X_train, y_train)
    fitted = time.process_time()
    # CatBoost predicts a column for several classes, which compared with a row is a matrix
    y_pred = np.ravel(model.predict(X_test))
    measured = {"fit_s": fitted - start, "predict_s": time.process_time() - fitted}
    if task == "classification":
        proba = probabilities(model, make_model, X_train, y_train, X_test)
        measured["score"] = np.mean(y_pred == y_test)
        measured["log_loss"] = log_loss(y_test, proba)
        measured["ece"] = calibration_error(y_test, proba)
    else:
        measured["score"] = r2_score(y_test, y_pred)
        if "return_std" in inspect.signature(model.predict).parameters:
            measured |= coverages(y_test, *model.predict(X_test, return_std=True))
    return measured
