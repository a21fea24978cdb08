"""The course of a fit: rows, members in training, what watches them, and batches.

A fit prepares rows (`prepare_rows`), draws members (`draw_members`), trains them (`Training`) and
ends with what estimators publish (`fitted_attributes`). What predicts is in `skcode.model`.
"""

from skcode.training._callbacks import CallbackSupportMixin, FitReport, MemberReport
from skcode.training._draw import Design, draw_members
from skcode.training._flow_targets import FlowTargets, draw_projection, outputs_of
from skcode.training._heads import fit_heads, fit_provisional_heads
from skcode.training._importances import feature_importances
from skcode.training._member import (
    Member,
    Outcome,
    ensemble_of,
    fitted_attributes,
    fitted_state,
    helpful_members,
    interrupted,
    parted,
    trained_members,
    with_linear_readout,
)
from skcode.training._monitor import TrainingMonitor, Validation
from skcode.training._pool import kinds_of
from skcode.training._quantiles import calibrate_quantiles
from skcode.training._rows import Rows, canonical, hold_out, positive_rows, relative_to_rows
from skcode.training._stream import LateColumns, Stream, stream_epoch
from skcode.training._training import Training
from skcode.training._trial import LEAST_TRIAL_ROWS, MOST_TRIAL_ROWS, Trial, try_ramps

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/training/member": Member,
    "skcode/training/monitor": TrainingMonitor,
    "skcode/training/stream": Stream,
    "skcode/training/late-columns": LateColumns,
}

__all__ = [
    "LEAST_TRIAL_ROWS",
    "MOST_TRIAL_ROWS",
    "TAGS",
    "CallbackSupportMixin",
    "Design",
    "FitReport",
    "FlowTargets",
    "LateColumns",
    "Member",
    "MemberReport",
    "Outcome",
    "Rows",
    "Stream",
    "Training",
    "TrainingMonitor",
    "Trial",
    "Validation",
    "calibrate_quantiles",
    "canonical",
    "draw_members",
    "draw_projection",
    "ensemble_of",
    "feature_importances",
    "fit_heads",
    "fit_provisional_heads",
    "fitted_attributes",
    "fitted_state",
    "helpful_members",
    "hold_out",
    "interrupted",
    "kinds_of",
    "outputs_of",
    "parted",
    "positive_rows",
    "relative_to_rows",
    "stream_epoch",
    "trained_members",
    "try_ramps",
    "with_linear_readout",
]
