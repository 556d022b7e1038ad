"""What a traced or compiled program says of itself: its longest chain of steps, and the memory of its backward pass."""

import jax

SUB_PROGRAMS = ("jaxpr", "call_jaxpr")


def longest_chain(function, *args, primitive="dot_general"):
    """How many operations of one kind must wait for each other in ``function(*args)``, at the least.

    Counts, along every path of data through the jaxpr, the uses of the primitive; a scan's body counts once a turn. It
    is the number of steps that remain with any number of processors that share each operation. Only straight programs
    and scans are understood; raises ValueError for loops and branches.
    """
    closed = jax.make_jaxpr(function)(*args)
    return max(_chain(closed.jaxpr, [0] * len(closed.jaxpr.invars), primitive), default=0)


def _chain(jaxpr, lengths, primitive):
    """The chain's length at each output, given that at each input."""
    known = dict(zip(jaxpr.invars, lengths, strict=True))

    def length(variable):
        return 0 if hasattr(variable, "val") else known.get(variable, 0)

    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inputs = [length(v) for v in equation.invars]
        if name in ("while", "cond"):
            raise ValueError(f"The length of a {name} is not known from the program: use straight code or a scan.")
        if name == "scan":
            outputs = _scan_chain(equation, inputs, primitive)
        elif body := next((params[key] for key in SUB_PROGRAMS if key in params), None):
            outputs = _chain(getattr(body, "jaxpr", body), inputs, primitive)
        else:
            outputs = [max(inputs, default=0) + (name == primitive)] * len(equation.outvars)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [length(v) for v in jaxpr.outvars]


def _scan_chain(equation, inputs, primitive):
    body, length = equation.params["jaxpr"].jaxpr, equation.params["length"]
    # What is read or written a row a turn has one axis less inside; versions of jax name the counts differently.
    carry = sum(a.aval.shape == b.aval.shape for a, b in zip(equation.outvars, body.outvars, strict=True))
    rows = sum(a.aval.shape != b.aval.shape for a, b in zip(equation.invars, body.invars, strict=True))
    consts = len(inputs) - rows - carry
    fixed, carried, read = inputs[:consts], inputs[consts : consts + carry], inputs[consts + carry :]
    stacked = [0] * (len(body.outvars) - carry)
    for _ in range(length):
        outputs = _chain(body, fixed + carried + read, primitive)
        carried = outputs[:carry]
        stacked = [max(pair) for pair in zip(stacked, outputs[carry:], strict=True)]
    return carried + stacked


def saved_bytes(function, *args):
    """Bytes that reverse-mode differentiation of ``function`` at ``args`` keeps for the backward pass, as traced.

    Arguments that the backward pass reads, such as weights, are counted, too.
    """
    backward = jax.eval_shape(lambda *a: jax.vjp(function, *a)[1], *args)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def compiled_temporary_bytes(function, *args):
    """Bytes of scratch memory that the compiled gradient of ``function`` (a scalar) in all ``args`` takes.

    What XLA assigned for this backend, without arguments and results.
    """
    gradient = jax.jit(jax.grad(function, argnums=tuple(range(len(args)))))
    return gradient.lower(*args).compile().memory_analysis().temp_size_in_bytes


def in_segments(layer, weights_L, h, length):
    """The last state of ``h = layer(w, h)`` over stacked weights, keeping states only between segments of a length.

    Recomputes each segment in the backward pass (Chen et al. 2016, section 4). Raises ValueError where the length does
    not divide L.
    """
    num_layers = len(jax.tree.leaves(weights_L)[0])
    if num_layers % length:
        raise ValueError(f"Segments of {length} layers do not divide {num_layers}: choose a divisor.")

    def step(h, weights):
        return layer(weights, h), None

    segments = jax.tree.map(lambda w: w.reshape(num_layers // length, length, *w.shape[1:]), weights_L)
    segment = jax.checkpoint(lambda h, weights: (jax.lax.scan(jax.checkpoint(step), h, weights)[0], None))
    return jax.lax.scan(segment, h, segments)[0]
