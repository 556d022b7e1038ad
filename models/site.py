"""A site: the place in a model where an activation can be read or edited."""

import flax.linen as nn


class Site(nn.Module):
    """Gives an activation a path without changing it; ``probes.sites.apply`` reads and edits activations by path."""

    @nn.compact
    def __call__(self, activation):
        return activation
