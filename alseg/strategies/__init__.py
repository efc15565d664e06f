"""Query strategies: ``f(learner, X_pool, n_instances=1, random_state=None, ...) -> query_idx``.

Beside each stands its score ``f_score(learner, X_pool, ...) -> (n_pool,)``, which wrappers such
as `class_balanced` take. Vary an option with `functools.partial`.
"""

from alseg.strategies._shared import TARGETS
from alseg.strategies.around_others import ramp
from alseg.strategies.at_random import random_sampling, random_score
from alseg.strategies.balance import class_balanced, class_balanced_sampling
from alseg.strategies.bounded import as_strategy, look, within_seconds
from alseg.strategies.cold_start import (
    alps_sampling,
    fps_sampling,
    pretrained_embedding,
    rep_div_sampling,
)
from alseg.strategies.cost_effective import ceal_sampling, ceal_score
from alseg.strategies.disagreement import (
    chunks,
    committee_sampling,
    committee_score,
    mc_dropout_sampling,
    mc_dropout_score,
    pixel_scores,
)
from alseg.strategies.domain import (
    aada_sampling,
    aada_score,
    with_source,
)
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.expected_change import badge_sampling, egl_sampling, egl_score
from alseg.strategies.expected_error import learning_loss_sampling, learning_loss_score
from alseg.strategies.feature_queries import as_function, from_skactiveml
from alseg.strategies.foreground import foreground_random, foreground_random_sampling
from alseg.strategies.hybrid import (
    clasp_sampling,
    clue_sampling,
    dpp_sampling,
    ranked_batch_sampling,
)
from alseg.strategies.image_parts import (
    by_region,
    pixelpick_sampling,
    region_sampling,
    ripu_sampling,
    ripu_score,
)
from alseg.strategies.informativeness import (
    entropy_sampling,
    entropy_score,
    least_confidence_sampling,
    least_confidence_score,
    margin_sampling,
    margin_score,
)
from alseg.strategies.near_duplicates import without_near_duplicates
from alseg.strategies.needing import check_needs, missing_parts, needs_of
from alseg.strategies.of_before import current_description, current_strategy
from alseg.strategies.perturbed import virtual_adversarial_sampling, virtual_adversarial_score
from alseg.strategies.representative import (
    cdal_sampling,
    cdal_score,
    core_set_sampling,
    core_set_score,
    discriminative_sampling,
    discriminative_score,
    facility_location_sampling,
    facility_location_score,
    k_means_plus_plus_sampling,
    k_means_sampling,
    prob_cover_sampling,
    prob_cover_score,
    suggestive_annotation_sampling,
)
from alseg.strategies.spread import (
    spread_over_groups,
    spread_over_groups_sampling,
    spread_over_images,
    spread_over_images_sampling,
)
from alseg.strategies.stochastic import (
    bald_sampling,
    bald_score,
    mc_variance_sampling,
    mc_variance_score,
    predicted_dice_sampling,
    predicted_dice_score,
)
from alseg.strategies.two_views import (
    cam_disagreement_sampling,
    cam_disagreement_score,
    tta_sampling,
    tta_score,
)
from alseg.strategies.typical import (
    bal_sampling,
    bal_score,
    density_score,
    density_weighted_sampling,
    density_weighted_score,
    typicality_score,
    typiclust_sampling,
)
from alseg.strategies.underlying import score_beside
from alseg.strategies.variational import vaal_sampling, vaal_score
from alseg.strategies.wrappers import (
    distinct,
    mixture,
    stochastic,
    stochastic_batches,
    subsample,
)

__all__ = [
    "aada_sampling",
    "aada_score",
    "alps_sampling",
    "badge_sampling",
    "bal_sampling",
    "bal_score",
    "bald_sampling",
    "bald_score",
    "by_region",
    "cam_disagreement_sampling",
    "cam_disagreement_score",
    "cdal_sampling",
    "cdal_score",
    "ceal_sampling",
    "ceal_score",
    "clasp_sampling",
    "class_balanced",
    "class_balanced_sampling",
    "clue_sampling",
    "committee_sampling",
    "committee_score",
    "core_set_sampling",
    "core_set_score",
    "density_score",
    "density_weighted_sampling",
    "density_weighted_score",
    "discriminative_sampling",
    "discriminative_score",
    "distinct",
    "dpp_sampling",
    "egl_sampling",
    "egl_score",
    "entropy_sampling",
    "entropy_score",
    "facility_location_sampling",
    "facility_location_score",
    "foreground_random",
    "foreground_random_sampling",
    "fps_sampling",
    "from_skactiveml",
    "k_means_plus_plus_sampling",
    "k_means_sampling",
    "learning_loss_sampling",
    "learning_loss_score",
    "least_confidence_sampling",
    "least_confidence_score",
    "look",
    "margin_sampling",
    "margin_score",
    "mc_dropout_sampling",
    "mc_dropout_score",
    "mc_variance_sampling",
    "mc_variance_score",
    "mixture",
    "needs_of",
    "pixelpick_sampling",
    "predicted_dice_sampling",
    "predicted_dice_score",
    "pretrained_embedding",
    "prob_cover_sampling",
    "prob_cover_score",
    "ramp",
    "random_sampling",
    "random_score",
    "ranked_batch_sampling",
    "region_sampling",
    "rep_div_sampling",
    "ripu_sampling",
    "ripu_score",
    "spread_over_groups",
    "spread_over_groups_sampling",
    "spread_over_images",
    "spread_over_images_sampling",
    "stochastic",
    "stochastic_batches",
    "subsample",
    "suggestive_annotation_sampling",
    "tta_sampling",
    "tta_score",
    "typicality_score",
    "typiclust_sampling",
    "vaal_sampling",
    "vaal_score",
    "virtual_adversarial_sampling",
    "virtual_adversarial_score",
    "with_source",
    "within_seconds",
    "without_near_duplicates",
]
