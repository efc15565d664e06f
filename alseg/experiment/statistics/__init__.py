"""What a curve is worth, and whether two strategies differ by more than chance."""

from alseg.experiment.statistics.curves import (
    LabelsSaved,
    area_under_curve,
    foreground_efficiency,
    labels_saved,
    labels_to_reach,
)
from alseg.experiment.statistics.judgement import (
    PooledRow,
    PooledVerdict,
    Verdict,
    VerdictRow,
    pooled_verdict,
    verdict,
)
from alseg.experiment.statistics.paired import (
    BootstrapInterval,
    PairedT,
    SignFlipResult,
    bootstrap_groups_seeds,
    holm,
    paired_t,
    power_paired_t,
    seeds_needed,
    sign_flip_test,
)
from alseg.experiment.statistics.ranking import RankStability, penalty_matrix, rank_stability

__all__ = [
    "BootstrapInterval",
    "LabelsSaved",
    "PairedT",
    "PooledRow",
    "PooledVerdict",
    "RankStability",
    "SignFlipResult",
    "Verdict",
    "VerdictRow",
    "area_under_curve",
    "bootstrap_groups_seeds",
    "foreground_efficiency",
    "holm",
    "labels_saved",
    "labels_to_reach",
    "paired_t",
    "penalty_matrix",
    "pooled_verdict",
    "power_paired_t",
    "rank_stability",
    "seeds_needed",
    "sign_flip_test",
    "verdict",
]
