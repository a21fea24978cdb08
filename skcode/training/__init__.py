"""The course of a fit: rows, members in training, what watches them, and batches.

A fit prepares rows (`positive_rows`, `canonical`), draws members (`draw_members`), trains them and
finishes their readouts (`fit_members`), and ends with what estimators publish (`fitted_state`).
What predicts is in `skcode.model`.
"""

from skcode.training._callbacks import CallbackSupportMixin, FitReport, MemberReport
from skcode.training._counts import counts_of, without_exposures
from skcode.training._draw import Design, draw_for_heads, draw_members, draw_pooled
from skcode.training._fit import Start, fit_members
from skcode.training._flow_targets import FlowTargets, draw_projection, outputs_of
from skcode.training._importances import feature_importances
from skcode.training._member import (
    Member,
    ensemble_of,
    fitted_attributes,
    fitted_state,
    with_linear_readouts,
)
from skcode.training._monitor import TrainingMonitor, Validation
from skcode.training._rows import (
    RawRows,
    Rows,
    canonical,
    hold_out,
    positive_rows,
    relative_to_rows,
)
from skcode.training._stream import LateColumns, Stream
from skcode.training._training import Training
from skcode.training._trial import LEAST_TRIAL_ROWS, try_inputs

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/training/member": Member,
    "skcode/training/monitor": TrainingMonitor,
    "skcode/training/stream": Stream,
    "skcode/training/late-columns": LateColumns,
}

__all__ = [
    "LEAST_TRIAL_ROWS",
    "TAGS",
    "CallbackSupportMixin",
    "Design",
    "FitReport",
    "FlowTargets",
    "LateColumns",
    "Member",
    "MemberReport",
    "RawRows",
    "Rows",
    "Start",
    "Stream",
    "Training",
    "TrainingMonitor",
    "Validation",
    "canonical",
    "counts_of",
    "draw_for_heads",
    "draw_members",
    "draw_pooled",
    "draw_projection",
    "ensemble_of",
    "feature_importances",
    "fit_members",
    "fitted_attributes",
    "fitted_state",
    "hold_out",
    "outputs_of",
    "positive_rows",
    "relative_to_rows",
    "try_inputs",
    "with_linear_readouts",
    "without_exposures",
]
