"""The axes of a mesh: their sizes as a flag states them, and the rules by which they split arrays.

The batch is split over ``data`` and ``fsdp``; parameters and the optimiser's state are split over ``fsdp`` and
``model``.
"""

import re

import numpy as np

from training.experiment import UserError

AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")
PARAMETER_AXES = ("fsdp", "model")


def parse_sizes(text):
    """{axis: size} of text such as ``data=4,model=2``; raises UserError for text of another form."""
    sizes = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        if name not in AXES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise UserError(
                f"--mesh={text} is not of the form AXIS=SIZE,AXIS=SIZE; the axes are {', '.join(AXES)}, once each"
            )
        sizes[name] = int(size)
    return sizes


def splits_parameters(mesh):
    """Whether a device of the mesh holds a part of the parameters, and not a copy of all."""
    return any(mesh.shape[axis] > 1 for axis in PARAMETER_AXES)


def partition(mesh, rules, path, shape):
    """The mesh axes, one or None for each axis of an array, over which a leaf of the state is split.

    The first of the rules (pattern, mesh axes) decides whose pattern is found in the path and whose axes are as many as
    the array's; where none is, ``fsdp`` splits the longest axis of a matrix. A mesh axis that does not divide the
    array's axis evenly is left out.
    """
    if not splits_parameters(mesh):
        return ()
    longest = int(np.argmax(shape)) if len(shape) > 1 else None
    axes = tuple("fsdp" if i == longest else None for i in range(len(shape)))
    axes = next((a for pattern, a in rules if len(a) == len(shape) and re.search(pattern, path)), axes)
    pairs = zip(axes, shape, strict=True)
    return tuple(axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in pairs)
