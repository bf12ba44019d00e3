"""What is measured of policies and rewards: pure functions over outcomes, scores and labels."""

from trellis.run.measures.bootstrap import Difference, paired_bootstrap
from trellis.run.measures.calibration import (
    Calibration,
    Logistic,
    brier_score,
    expected_calibration_error,
    fit_logistic,
    held_out_calibration,
)
from trellis.run.measures.passing import pass_at_k
from trellis.run.measures.ranking import StepAUC, auc, spearman, step_auc, within_problem_auc

__all__ = [
    "Calibration",
    "Difference",
    "Logistic",
    "StepAUC",
    "auc",
    "brier_score",
    "expected_calibration_error",
    "fit_logistic",
    "held_out_calibration",
    "paired_bootstrap",
    "pass_at_k",
    "spearman",
    "step_auc",
    "within_problem_auc",
]
