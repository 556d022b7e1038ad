"""What each arm is made of, from shapes alone: nothing is trained or even computed."""

import flax.linen as nn
import jax

from training.experiment import Measurement
from training.step import abstract_state, leaves_by_path


def summarize(tasks, describe):
    """A table of every arm's layers, or of its parameters where it trains anything but one module.

    Args:
      describe: (module, variables, example inputs), arrays as shapes, -> text.
    """
    lines = []
    for name, task in tasks.items():
        if isinstance(task, Measurement):
            lines.append(f"{name}: a measurement; it trains nothing")
            continue
        leaves = leaves_by_path(abstract_state(task, 1).params)
        lines.append(f"{name}: {sum(leaf.size for _, leaf in leaves):,} parameters")
        call = find_model(task.init)
        if call:
            lines += [f"  {line}" for line in describe(*call).splitlines()]
        else:
            lines += [f"  {path:40} {leaf.shape!s:>18} {leaf.size:>12,}" for path, leaf in leaves]
    return "\n".join(lines)


def find_model(init):
    """(module, variables, inputs of a batch of one) of the one module that a task's ``init`` calls; arrays as shapes.

    None where it calls none, or makes something else of its variables, such as a copy for each of many settings.
    """
    calls, open_calls = [], []  # (module, arguments) of all calls of a model; those that have not returned

    def intercept(call, args, kwargs, context):
        # A module without a scope is a mere description, such as a cell that is asked for its initial state.
        is_model = context.module.scope is not None and not context.module.path
        if open_calls or not is_model or context.method_name != "__call__":
            return call(*args, **kwargs)
        calls.append((context.module.clone(parent=None), args))
        open_calls.append(calls[-1])
        out = call(*args, **kwargs)
        open_calls.pop()
        return out

    with nn.intercept_methods(intercept):
        # A new function, since jax does not trace one anew that it has traced before.
        variables = jax.eval_shape(lambda key: init(key), jax.random.key(0))
    if not calls:
        return None
    module, args = calls[-1]  # a model may call others by themselves before, as it is set up
    inputs = tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in args if getattr(x, "shape", ()))
    if len(inputs) < len(args) or jax.eval_shape(module.init, jax.random.key(0), *inputs) != variables:
        return None
    return module, variables, inputs
