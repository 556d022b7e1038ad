"""Read and edit activations of any model in models/, without editing the model.

A model marks its activations with sites (``models.site.Site``). Here a user names sites by path, shell wildcards
allowed, and gives a function for each::

    logits, patterns = apply(model, variables, tokens, observe={"layer_*/attention/pattern": lambda A: A})
    logits, _ = apply(model, variables, tokens, edit={"layer_0/attention/head_outputs": lambda z: z.at[:, :, 2].set(0)})

The functions are traced with the model: under ``jax.jit`` an activation of which only a part is observed is never
stored whole, and under ``jax.vmap`` a batch of edits is one compiled call.
"""

from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import flax.linen as nn

from models.site import Site

HEAD_INPUTS = {"query": "queries", "key": "keys", "value": "values"}  # what a head reads: its site within attention


def apply(model, variables, *inputs, observe=None, edit=None, **kwargs):
    """The model's output, and what was observed while it was computed.

    Args:
      observe: {path or wildcard: function of the activation}; the results are returned by path.
      edit: {path or wildcard: function from the activation to what replaces it}. Edits act before observations.
    Returns:
      (model output, {path: observed value}).
    Raises:
      ValueError: a path that matches no site of this model.
    """
    observe, edit = observe or {}, edit or {}
    if observe or edit:
        model = explicit(model)
    visited, observed = [], {}

    def interceptor(call, args, kwargs, context):
        activation = call(*args, **kwargs)
        if not isinstance(context.module, Site):
            return activation
        path = "/".join(context.module.path)
        visited.append(path)
        for pattern, function in edit.items():
            if fnmatchcase(path, pattern):
                activation = function(activation)
        for pattern, function in observe.items():
            if fnmatchcase(path, pattern):
                observed[path] = function(activation)
        return activation

    with nn.intercept_methods(interceptor):
        output = model.apply(variables, *inputs, **kwargs)
    for pattern in (*observe, *edit):
        if not any(fnmatchcase(path, pattern) for path in visited):
            near = get_close_matches(pattern, visited, n=3, cutoff=0.4) or visited
            raise ValueError(f"no site of this model is called {pattern!r}; there are: {', '.join(near)}")
    return output, observed


def explicit(model):
    """The same model, computing whole attention patterns, so that its ``scores`` and ``pattern`` sites exist.

    It does not recompute activations in the backward pass either: within a recomputation nothing can be observed. A
    model without these settings is returned as it is.
    """
    if not hasattr(getattr(model, "config", None), "attention"):
        return model
    return model.clone(config=replace(model.config, attention="explicit", remat=False))
