"""What to ask: arrays in, scores and positions out."""

from alseg._lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "aggregation": ["AGGREGATIONS", "aggregate", "boundary_mean", "classwise_mean", "distance_weighted", "foreground_mean", "needs_mask_proba", "patch_max", "pixel_max", "pixel_mean", "pixel_sum", "quantile", "top_fraction"],
        "ceal": ["N_BINS", "Schedule", "as_schedule", "ceal_groups", "doubt", "predicted_doubt", "pseudo_group"],
        "costs": ["AnnotationCost", "annotation_cost", "polygon_clicks"],
        "gradients": ["badge_picks", "expected_gradient_length", "label_residuals", "mask_gradient_length", "mask_gradients", "outer_picks"],
        "learning_loss": ["LossPredictor", "pair_loss"],
        "region_picks": ["RegionPicker", "pick_regions"],
        "region_scores": ["box_mean", "box_sum", "region_impurity", "ripu", "superpixel_means", "tile_means"],
        "regions": ["Regions", "UNITS"],
        "selection": ["NOISES", "class_balanced_top_n", "class_quotas", "interleave", "shares", "stochastic_top_n", "top_n"],
        "superpixels": ["slic_superpixels", "superpixels_of"],
        "uncertainty": ["DRAW_UNCERTAINTIES", "DrawSums", "UNCERTAINTIES", "bald", "entropy", "floating", "least_confidence", "margin", "mean_deviation", "mean_entropy", "namespace", "sums_for", "variance", "variation_ratio", "vote_entropy"],
    },
)
