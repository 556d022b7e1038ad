"""What a model is made of: its layers with their shapes, parameters, operations and receptive fields.

The model is traced once and nothing is computed. An interceptor records which modules are called and what they return;
multiplications are counted in the jaxpr, each for the module in whose call it stands; the receptive field is followed
from module to module along the arrays that they pass on.
"""

import math
import re
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from models.receptive_field import IMAGE, Field, field_after_window

SCOPE_NAME = "summary_{}_"  # the named scope of a module's call, with the module's number
SCOPE_PATTERN = re.compile(r"summary_(\d+)_")
# Modules that do nothing but give an activation a name are not listed.
UNLISTED_KINDS = ("Site",)
UNCALLED = "(parameters)"  # the kind of a module whose parameters are used by the module around it, without a call
# Norms that take their statistics over the image itself.
WHOLE_IMAGE_NORMS = ("layer", "instance", "group", "LayerNorm", "GroupNorm", "InstanceNorm")


class Layer(NamedTuple):
    """A module that computes something itself.

    path:            the module's names joined with slashes; empty for the model itself
    kind:            the name of the module's class, or ``UNCALLED``
    shape:           shape of what the module returns; for ``UNCALLED``, of its largest parameter
    parameters:      number of the module's own parameters, without those of modules within it
    macs:            number of its own multiplications whose products are summed, in matrix products and convolutions
    receptive_field: side, in pixels, of what a unit sees; ``IMAGE`` where a unit sees the whole image; None where the
                     input is no image, or where the field cannot be followed through the model
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


class _Trace:
    """What an interceptor records while a model is traced.

    calls:   {path of a module: its first call}, in the order in which calls end
    numbers: {path of a module: number in the name of its scope}, in the order in which calls begin
    fields:  {id of an array: (the array, kept so that no other gets its id, and its Field)}
    """

    def __init__(self):
        self.calls, self.numbers, self.fields = {}, {}, {}
        self.image_ids, self.root_scope = set(), None

    def run(self, module, variables, *inputs):
        """Applies the module to the inputs under the interceptor."""
        for x in inputs:
            if getattr(x, "ndim", 0) == 4:
                self.fields[id(x)] = (x, Field())
                self.image_ids.add(id(x))

        def call(bound, *inputs):
            self.root_scope = bound.scope
            return bound(*inputs)

        with nn.intercept_methods(self.intercept):
            return nn.apply(call, module)(variables, *inputs)

    def intercept(self, next_function, args, kwargs, context):
        scope = context.module.scope
        # A module without a scope is only asked for a constant, such as a cell for its initial state; a scope with
        # another root belongs to a model that is applied by itself within this one.
        if scope is None or (not scope.root.path and scope.root is not self.root_scope):
            return next_function(*args, **kwargs)
        path = "/".join(context.module.path)
        number = self.numbers.setdefault(path, len(self.numbers))
        with jax.named_scope(SCOPE_NAME.format(number)):
            out = next_function(*args, **kwargs)
        if context.method_name == "__call__":
            self.record(context.module, path, args, out)
        return out

    def record(self, module, path, args, out):
        is_leaf = not any(other.startswith(f"{path}/" if path else "") for other in self.calls if other != path)
        result = out[-1] if isinstance(out, tuple) else out
        result = jax.tree.leaves(result)[0] if jax.tree.leaves(result) else result
        if is_leaf and id(result) not in self.fields and (input_fields := self.input_fields(args)):
            self.fields[id(result)] = (result, _field(module, args[0], result, input_fields))
        _, field = self.fields.get(id(result), (None, None))
        if path not in self.calls:
            self.calls[path] = _Call(module.clone(parent=None), getattr(result, "shape", ()), field, is_leaf)

    def input_fields(self, args):
        """The fields of a module's inputs; empty where they cannot be told."""
        fields = [self.fields[id(x)][1] for x in args if id(x) in self.fields]
        if fields:
            return fields
        if self.image_ids and not self.fields.keys() - self.image_ids:
            return [Field()]  # the image itself, cast or transposed
        if any(field.size == IMAGE for _, field in self.fields.values()):
            return [Field(IMAGE)]  # a field that is the whole image stays the whole image
        return []


def layers(module, variables, example_inputs):
    """The layers of a model, in the order of their calls.

    Args:
      module: any Linen module whose ``__call__`` needs no more than the inputs.
      variables: the module's variables; shapes (jax.ShapeDtypeStruct) are enough.
      example_inputs: a tuple of arrays or shapes. A batch of one gives the operations of one example.
    Returns:
      A Layer for each module that has parameters or operations of its own, or has no modules within.
    """
    if getattr(module, "layout", "") is None:
        module = module.clone(layout="BHWC")  # the layout in which people read shapes, on every device
    trace, macs = _Trace(), {}
    _count(jax.make_jaxpr(partial(trace.run, module))(variables, *example_inputs).jaxpr, None, 1, macs)
    shapes_by_path = _own_parameters(variables.get("params", {}))
    model_layers = []
    for path, number in trace.numbers.items():
        if path not in trace.calls:
            continue
        call = trace.calls[path]
        kind = type(call.module).__name__
        parameters = sum(map(math.prod, shapes_by_path.pop(path, ())))
        is_unlisted = kind in UNLISTED_KINDS or (kind == "Dropout" and not call.module.rate)
        if (call.is_leaf or parameters or number in macs) and not is_unlisted:
            size = call.field.size if call.field else None
            model_layers.append(Layer(path, kind, tuple(call.shape), parameters, macs.get(number, 0), size))
        for other in [p for p in shapes_by_path if p not in trace.calls and _nearest(p, trace.calls) == path]:
            shapes = shapes_by_path.pop(other)
            parameters = sum(map(math.prod, shapes))
            model_layers.append(Layer(other, UNCALLED, max(shapes, key=math.prod), parameters, 0, None))
    return model_layers


def _nearest(path, calls):
    """The innermost module around a path that was called; the model itself is one."""
    while path and path not in calls:
        path = path.rpartition("/")[0]
    return path


def _field(module, x, result, input_fields):
    """The field after a module that calls no other modules, by the fields of its inputs."""
    field = Field(max(f.size for f in input_fields), max(f.jump for f in input_fields))
    kind = type(module).__name__
    if result.ndim != x.ndim or x.ndim != 4 or {kind, getattr(module, "kind", "")} & set(WHOLE_IMAGE_NORMS):
        return Field(IMAGE, field.jump)
    if hasattr(module, "kernel_size"):
        size = _largest(module.kernel_size)
        stride = _largest(getattr(module, "strides", None) or getattr(module, "stride", 1) or size)
        dilation = _largest(getattr(module, "kernel_dilation", None) or getattr(module, "dilation", 1))
        return field_after_window(field, size, stride, dilation)
    return field


def _largest(number):
    """A number that may be given once for each axis; fields are square here, so the largest one counts."""
    return max(number) if isinstance(number, tuple | list) else number


def _own_parameters(params):
    """{module's path: the shapes of its own parameters, without those of modules within it}."""
    own = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        own.setdefault("/".join(str(getattr(key, "key", key)) for key in path[:-1]), []).append(tuple(leaf.shape))
    return own


def _count(jaxpr, owner, times, macs):
    """Adds the multiplications of products and convolutions to ``macs``, {module's number: multiplications}."""
    for equation in jaxpr.eqns:
        numbers = SCOPE_PATTERN.findall(str(equation.source_info.name_stack))
        number = int(numbers[-1]) if numbers else owner
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
                        _count(sub, number, inside, macs)
        if each:
            macs[number] = macs.get(number, 0) + times * each * math.prod(equation.outvars[0].aval.shape)


def text(model_layers):
    """A table of the Layers of ``layers`` with a row of totals, to be printed."""
    has_fields = any(layer.receptive_field for layer in model_layers)
    header = ["layer", "kind", "shape", "parameters", "MACs"] + ["receptive field"] * has_fields
    rows = [header]
    for layer in model_layers:
        row = [layer.path or "(itself)", layer.kind, " x ".join(map(str, layer.shape))]
        row += [f"{layer.parameters:,}", f"{layer.macs:,}"]
        field = layer.receptive_field
        row += [("" if field is None else "image" if field == IMAGE else f"{field:.0f}")] * has_fields
        rows.append(row)
    parameters, macs = sum(layer.parameters for layer in model_layers), sum(layer.macs for layer in model_layers)
    rows.append(["total", "", "", f"{parameters:,}", f"{macs:,}"] + [""] * has_fields)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
