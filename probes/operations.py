"""What a function costs, counted from its jaxpr: floating-point operations, and bytes read and written.

XLA's own cost analysis counts the body of a scan once, whatever its length, and charges a gather for its whole operand.
Here a scan costs its length times its body, and a gather only what it gathers. The count is exact and the same on every
machine: it is that of the program as written, before the compiler fuses anything.
"""

from math import ceil, log2, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cost(NamedTuple):
    """Floating-point operations, and bytes read and written."""

    operations: int
    bytes: int

    def times(self, count):
        """The cost of doing this ``count`` times."""
        return Cost(count * self.operations, count * self.bytes)


def _primitives(text):
    return frozenset(text.split())


# One operation for each element of the result.
ELEMENTWISE = _primitives(
    """
    abs acos acosh add add_any asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp conj cos cosh digamma
    div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p log2 logistic lt max
    min mul ne neg nextafter one_minus_square pow rem round rsqrt select_n sign sin sinh sqrt square sub tan tanh
    """
)
# One operation for each element of the operand, less one for each result.
REDUCTIONS = _primitives(
    """
    argmax argmin cumlogsumexp cummax cummin cumprod cumsum reduce reduce_max reduce_min reduce_prod reduce_sum
    """
)
SCATTERS = _primitives("scatter scatter-add scatter-max scatter-min scatter-mul scatter-sub")
WINDOWS = _primitives("reduce_window_max reduce_window_min reduce_window_sum select_and_gather_add")
# These compute nothing. A slice reads what it takes, the others read their operands.
SLICES = _primitives("gather slice dynamic_slice")
UPDATE = "dynamic_update_slice"
MOVES = _primitives(
    "broadcast_in_dim broadcast_to concatenate convert_element_type copy imag complex iota pad real reduce_precision "
    "rev split stack tile unstack"
)
# Other names for the same numbers: nothing is computed or moved.
RELABELLINGS = _primitives(
    "bitcast_convert_type device_put name optimization_barrier pvary relayout reshape reshard sharding_constraint "
    "squeeze stop_gradient transpose with_memory_space_constraint"
)
# Primitives of integers, booleans and random bits, which are no floating-point operations.
DISCRETE = _primitives(
    "and clz mulhi not or population_count random_bits random_clone random_fold_in random_seed random_split "
    "random_unwrap random_wrap reduce_and reduce_or reduce_xor shift_left shift_right_arithmetic "
    "shift_right_logical threefry2x32 xor"
)
CALLS = _primitives(
    "checkpoint closed_call custom_jvp_call custom_vjp_call custom_vmap_call eval_jaxpr jit pjit remat2"
)


def count(function, *args):
    """The Cost of ``function(*args)``; ``args`` may be jax.ShapeDtypeStruct, so that nothing is allocated.

    Conventions for operations. Only arithmetic on floating-point numbers counts; arithmetic on indices and masks does
    not. An addition, a multiplication, a comparison, a selection and a transcendental function are one operation each.
    A matrix product of [M, K] and [K, N] is 2 M N K operations; a convolution is 2 for each multiplication, those with
    padded zeros included; a sum over n numbers is n - 1; a scatter-add is one for each number added; sorting n numbers
    is n ceil(log2 n).

    Conventions for bytes. Each primitive reads its operands and writes its result. Fusion and caches are left out, so
    this is an upper bound. A gather and a slice read only what they take, and their indices; a scatter works in place
    and touches only what it updates. Reshapes and transpositions are other names for the same bytes.

    A scan costs its length times its body, a call its body, and a conditional its branch of most operations. What no
    result depends on is not counted. Under ``jax.vmap`` and for several seeds, all elements count.

    Raises:
      ValueError: a while loop, whose number of turns the jaxpr does not say (a ``fori_loop`` between Python integers
        becomes a scan), or a primitive that has no rule here.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _count(jaxpr, [True] * len(jaxpr.outvars))


def _count(jaxpr, live_outputs):
    """The Cost of the equations that the live outputs depend on."""
    live = {v for v, is_live in zip(jaxpr.outvars, live_outputs, strict=True) if is_live and not _is_literal(v)}
    operations = moved = 0
    for equation in reversed(jaxpr.eqns):
        outputs_live = [v in live for v in equation.outvars]
        if any(outputs_live) or equation.effects:
            live.update(v for v in equation.invars if not _is_literal(v))
            cost = _equation_cost(equation, outputs_live)
            operations, moved = operations + cost.operations, moved + cost.bytes
    return Cost(operations, moved)


def _equation_cost(equation, outputs_live):
    """The Cost of one equation of a jaxpr, what it calls included."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        body = params["jaxpr"].jaxpr
        # What a scan stacks has one axis more outside than in its body; what it carries is read by the next turn.
        pairs = zip(body.outvars, equation.outvars, outputs_live, strict=True)
        live = [is_live or inside.aval.ndim == outside.aval.ndim for inside, outside, is_live in pairs]
        return _count(body, live).times(params["length"])
    if name == "cond":
        return max(_count(branch.jaxpr, outputs_live) for branch in params["branches"])
    if name in CALLS:
        body = params["jaxpr" if "jaxpr" in params else "call_jaxpr"]
        return _count(getattr(body, "jaxpr", body), outputs_live)
    if name == "while":
        raise ValueError(
            "A while loop's number of turns is not in the jaxpr: count its body by itself, or use jax.lax.scan."
        )
    return Cost(_operations(equation), _bytes(equation))


def _operations(equation):
    """The floating-point operations of a primitive that calls nothing; raises ValueError for one without a rule."""
    name, params = equation.primitive.name, equation.params
    inputs, outputs = ([v.aval for v in variables] for variables in (equation.invars, equation.outvars))
    if name in SLICES | MOVES | RELABELLINGS | DISCRETE | {UPDATE}:
        return 0
    if not any(jnp.issubdtype(aval.dtype, jnp.inexact) for aval in inputs + outputs):
        return 0
    if name in ELEMENTWISE:
        return outputs[0].size
    if name in REDUCTIONS:
        axes = params.get("axes", params.get("dimensions", (params.get("axis"),)))
        reduced = prod(inputs[0].shape[axis] for axis in axes)
        return inputs[0].size - inputs[0].size // max(reduced, 1)
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        return 2 * outputs[0].size * prod(inputs[0].shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = inputs[1]
        return 2 * outputs[0].size * (kernel.size // kernel.shape[params["dimension_numbers"].rhs_spec[0]])
    if name in SCATTERS:
        return 0 if name == "scatter" else inputs[2].size
    if name in WINDOWS:
        return outputs[0].size * (prod(params["window_dimensions"]) - 1)
    if name == "select_and_scatter_add":
        return inputs[0].size * prod(params["window_dimensions"])
    if name in ("sort", "top_k"):
        n = inputs[0].shape[params.get("dimension", -1)]
        return inputs[0].size * ceil(log2(max(n, 1)))
    raise ValueError(f"There is no rule for the cost of the primitive {name}: add one to probes/operations.py.")


def _bytes(equation):
    """The bytes that a primitive which calls nothing reads and writes."""
    name = equation.primitive.name
    inputs, outputs = ([_num_bytes(v) for v in variables] for variables in (equation.invars, equation.outvars))
    # Where a broadcast only adds axes of size one, the bytes are the same.
    if name in RELABELLINGS or (name == "broadcast_in_dim" and inputs[:1] == outputs):
        return 0
    if name in SLICES:
        return 2 * sum(outputs) + sum(inputs[1:])
    if name in SCATTERS:
        return inputs[1] + (2 if name == "scatter" else 3) * inputs[2]
    if name == UPDATE:
        return 2 * inputs[1] + sum(inputs[2:])
    return sum(inputs) + sum(outputs)


def _num_bytes(variable):
    return 0 if _is_literal(variable) else variable.aval.size * variable.aval.dtype.itemsize


def _is_literal(variable):
    return hasattr(variable, "val")
