"""Two rounds of an active-learning loop, for tests of what a learner fits."""

from alseg.oracles import MaskOracle


def after_two_rounds(learner, masks):
    """The learner, asked twice for two masks, which it gets."""
    oracle = MaskOracle(masks)
    for _ in range(2):
        asked, _ = learner.query(n_instances=2)
        learner.annotate(asked, oracle(asked))
    return learner
