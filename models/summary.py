"""What a model is made of: its layers with their shapes, parameters, operations and receptive fields.

Nothing is typed in by hand. The model is traced once: which modules are called, and what they return, is seen by an
interceptor; multiplications are counted in the jaxpr, each where its module was called; the receptive field is followed
from module to module along the arrays they hand on. Nothing is computed.
"""

import math
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from models.receptive_field import IMAGE, Field, after_window

MARK = "summary_{}_"
MARKS = re.compile(r"summary_(\d+)_")
# Modules that do nothing but give an activation a name.
SILENT = ("Site",)
UNCALLED = "(parameters)"  # the kind of a module of which only the parameters are used, by the one around it
# Norms whose statistics are those of the image itself.
WHOLE_IMAGE_NORMS = ("layer", "instance", "group", "LayerNorm", "GroupNorm", "InstanceNorm")


class Layer(NamedTuple):
    """A module that computes something itself.

    path:   of the module, its names joined with slashes; empty for the model itself
    kind:   its class; or ``UNCALLED``, the shape being that of its largest parameter
    shape:  of what it returns
    parameters, macs: its own, not those of the modules within; multiplications that go into a sum, of matrix products
            and convolutions
    receptive_field: pixels of a side that a unit sees; ``IMAGE`` where that is the image as a whole, None where the
            input is no image, or where the model goes ways that cannot be followed
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: float | None


class _Call(NamedTuple):
    module: Any
    shape: tuple[int, ...]
    field: Field | None
    is_leaf: bool


def layers(module, variables, example_inputs):
    """The layers of a model, in the order of their calls.

    Args:
      module: any Linen module whose ``__call__`` needs no more than the inputs.
      variables: what its ``apply`` takes; shapes (jax.ShapeDtypeStruct) are enough.
      example_inputs: a tuple of arrays or shapes. A batch of one gives the operations of one example.
    Returns:
      A Layer for each module that has parameters or operations of its own, or has no modules within.
    """
    if getattr(module, "layout", "") is None:
        module = module.clone(layout="BHWC")  # as one reads shapes, whatever the device likes best
    calls, numbers, fields, depth = {}, {}, {}, []

    def intercept(next_function, args, kwargs, context):
        scope = context.module.scope
        # A mere description, such as a cell that is asked for its initial state, or a model within, applied by itself.
        if scope is None or (not scope.root.path and scope.root is not root[0]):
            return next_function(*args, **kwargs)
        path = "/".join(context.module.path)
        number = numbers.setdefault(path, len(numbers))
        depth.append(path)
        with jax.named_scope(MARK.format(number)):
            out = next_function(*args, **kwargs)
        depth.pop()
        if context.method_name != "__call__":
            return out
        is_leaf = not any(other.startswith(f"{path}/" if path else "") for other in calls if other != path)
        result = out[-1] if isinstance(out, tuple) else out
        result = jax.tree.leaves(result)[0] if jax.tree.leaves(result) else result
        if id(result) not in fields and is_leaf:
            seen = [fields[id(x)][1] for x in args if id(x) in fields]
            if not seen and images and not fields.keys() - images:  # the image itself, cast or turned
                seen = [Field()]
            if not seen and any(f.size == IMAGE for _, f in fields.values()):
                seen = [Field(IMAGE)]  # there is no way back
            if seen:
                fields[id(result)] = (result, _field(context.module, args[0], result, seen))
        _, field = fields.get(id(result), (None, None))
        if path not in calls:
            calls[path] = _Call(context.module.clone(parent=None), getattr(result, "shape", ()), field, is_leaf)
        return out

    images, root = set(), []

    def called(bound, *inputs):
        root.append(bound.scope)
        return bound(*inputs)

    def run(variables, *inputs):
        for x in inputs:
            if getattr(x, "ndim", 0) == 4:
                fields[id(x)] = (x, Field())  # the array is kept, or its id would be used again
                images.add(id(x))
        with nn.intercept_methods(intercept):
            return nn.apply(called, module)(variables, *inputs)

    macs = {}
    _count(jax.make_jaxpr(run)(variables, *example_inputs).jaxpr, None, 1, macs)
    own = _own_parameters(variables.get("params", {}))
    found = []
    for path, number in numbers.items():
        if path not in calls:
            continue
        call, kind = calls[path], type(calls[path].module).__name__
        parameters = sum(map(math.prod, own.pop(path, ())))
        silent = kind in SILENT or (kind == "Dropout" and not call.module.rate)
        if (call.is_leaf or parameters or number in macs) and not silent:
            size = call.field.size if call.field else None
            found.append(Layer(path, kind, tuple(call.shape), parameters, macs.get(number, 0), size))
        for other in [other for other in own if other not in calls and _nearest(other, calls) == path]:
            shapes = own.pop(other)
            found.append(Layer(other, UNCALLED, max(shapes, key=math.prod), sum(map(math.prod, shapes)), 0, None))
    return found


def _nearest(path, calls):
    """The innermost module around a path that was called; the model itself is one."""
    while path and path not in calls:
        path = path.rpartition("/")[0]
    return path


def _field(module, x, result, seen):
    """The field behind a module that has none within, from those of its inputs."""
    field = Field(max(f.size for f in seen), max(f.jump for f in seen))
    kind = type(module).__name__
    if result.ndim != x.ndim or x.ndim != 4 or {kind, getattr(module, "kind", "")} & set(WHOLE_IMAGE_NORMS):
        return Field(IMAGE, field.jump)
    if hasattr(module, "kernel_size"):
        size = _one(module.kernel_size)
        stride = _one(getattr(module, "strides", None) or getattr(module, "stride", 1) or size)
        dilation = _one(getattr(module, "kernel_dilation", None) or getattr(module, "dilation", 1))
        return after_window(field, size, stride, dilation)
    return field


def _one(number):
    """A size that may be given for each axis; fields are square here, so the larger one counts."""
    return max(number) if isinstance(number, tuple | list) else number


def _own_parameters(params):
    """{module's path: the shapes of the arrays that are its own}."""
    own = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        own.setdefault("/".join(str(getattr(key, "key", key)) for key in path[:-1]), []).append(tuple(leaf.shape))
    return own


def _count(jaxpr, owner, times, macs):
    """Adds up the multiplications of products and convolutions, for each module's number."""
    for equation in jaxpr.eqns:
        marks = MARKS.findall(str(equation.source_info.name_stack))
        here = int(marks[-1]) if marks else owner
        name, shape = equation.primitive.name, [v.aval.shape for v in equation.invars]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            each = math.prod(shape[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            each = math.prod(shape[1]) // shape[1][equation.params["dimension_numbers"].rhs_spec[0]]
        else:
            each = 0
            inside = times * equation.params["length"] if name == "scan" else times
            for value in equation.params.values():
                for sub in value if isinstance(value, tuple | list) else (value,):
                    sub = getattr(sub, "jaxpr", sub)
                    if hasattr(sub, "eqns"):
                        _count(sub, here, inside, macs)
        if each:
            macs[here] = macs.get(here, 0) + times * each * math.prod(equation.outvars[0].aval.shape)


def text(found):
    """A table of layers with a row of totals, to be printed."""
    has_fields = any(layer.receptive_field for layer in found)
    header = ["layer", "kind", "shape", "parameters", "MACs"] + ["receptive field"] * has_fields
    rows = [header]
    for layer in found:
        row = [layer.path or "(itself)", layer.kind, " x ".join(map(str, layer.shape))]
        row += [f"{layer.parameters:,}", f"{layer.macs:,}"]
        field = layer.receptive_field
        row += [("" if field is None else "image" if field == IMAGE else f"{field:.0f}")] * has_fields
        rows.append(row)
    totals = (f"{sum(layer.parameters for layer in found):,}", f"{sum(layer.macs for layer in found):,}")
    rows.append(["total", "", "", *totals] + [""] * has_fields)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
