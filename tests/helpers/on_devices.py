"""What tests on several devices share."""

import jax
import numpy as np

NETWORK = {"hidden": 4, "width": 4, "depth": 1, "rank": 3}


def vector(policy):
    """All parameters of a policy as one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(policy.parameters)])
