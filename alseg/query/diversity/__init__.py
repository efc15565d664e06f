"""Representative and diverse picks: embeddings in, positions in the pool out; near-duplicates.

Nothing here keeps an n x n matrix. Embeddings are read a block at a time; for k-centre and
k-means++ picks and k-means they may be memory-mapped. Computations are in the precision of the
embeddings (float32 at least), and where rounding could decide, again in double precision.
"""

from alseg.query.diversity.balls import cover_degrees, prob_cover, purity_radius
from alseg.query.diversity.clustering import k_means, k_means_groups
from alseg.query.diversity.context import (
    class_context,
    contextual_distance,
    contextual_picks,
    nearest_context,
)
from alseg.query.diversity.cover import (
    distance_to_labelled,
    facility_location,
    k_center_greedy,
    k_means_plus_plus,
    representation_gain,
)
from alseg.query.diversity.density import (
    cluster_gaps,
    density,
    farthest_of_groups,
    k_means_picks,
    represent_then_spread,
    typical_of_groups,
    typicality,
    typiclust,
)
from alseg.query.diversity.determinantal import dpp_picks
from alseg.query.diversity.discriminative import (
    discriminative_picks,
    looks_unlabelled,
    odds_of_unlabelled,
)
from alseg.query.diversity.duplicates import ALIKE, distinct_images, first_distinct, likeness
from alseg.query.diversity.points import Points, as_embeddings, squared

__all__ = [
    "class_context",
    "cluster_gaps",
    "contextual_distance",
    "contextual_picks",
    "cover_degrees",
    "density",
    "discriminative_picks",
    "distance_to_labelled",
    "distinct_images",
    "dpp_picks",
    "facility_location",
    "farthest_of_groups",
    "k_center_greedy",
    "k_means_groups",
    "k_means_picks",
    "k_means_plus_plus",
    "likeness",
    "looks_unlabelled",
    "nearest_context",
    "odds_of_unlabelled",
    "prob_cover",
    "purity_radius",
    "represent_then_spread",
    "representation_gain",
    "typical_of_groups",
    "typicality",
    "typiclust",
]
