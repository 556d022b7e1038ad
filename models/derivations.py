"""Small networks, and their gradients derived by hand: no automatic differentiation in this file.

One convention throughout. Vectors are columns, z = W h + b. Derivatives of a number by a vector are rows, a Jacobian
dz/dh has an entry dz_i/dh_j at row i and column j, and the chain rule is read from left to right:

    dJ/dh = dJ/dz dz/dh = delta W        since dz/dh = W, not W transposed
    dJ/dW = delta^T h^T                  a derivative by a matrix has the matrix's shape

Rows and columns are both arrays of one axis here. Where several examples are processed at once, they are the columns
of a matrix, and derivatives by that matrix have its shape.

Axes: V classes, D and F widths of vectors, B examples (columns), and for images B examples (first), I and J positions,
C and F channels.
"""

import jax
import jax.numpy as jnp

# --- Softmax and cross-entropy.


def softmax(z_V):
    """Probabilities exp(z_i) / sum_j exp(z_j)."""
    e_V = jnp.exp(z_V - z_V.max())
    return e_V / e_V.sum()


def softmax_jacobian(z_V):
    """dp/dz [V, V] of p = softmax(z): dp_i/dz_j = p_i (1[i = j] - p_j), that is diag(p) - p p^T."""
    p_V = softmax(z_V)
    return jnp.diag(p_V) - jnp.outer(p_V, p_V)


def cross_entropy(z_V, y_V):
    """J = -sum_i y_i log softmax(z)_i in nats, for targets y that sum to 1."""
    shifted_V = z_V - z_V.max()
    return jnp.log(jnp.exp(shifted_V).sum()) - (y_V * shifted_V).sum()


def cross_entropy_gradient(z_V, y_V):
    """dJ/dz [V] = softmax(z) - y."""
    return softmax(z_V) - y_V


# --- ReLU.


def relu(z):
    """max(z, 0), of every element."""
    return jnp.where(z > 0, z, jnp.zeros_like(z))


def relu_derivative(z):
    """1 where z > 0, else 0, of every element. At z = 0 there is no derivative; 0 is the usual choice."""
    return (z > 0).astype(z.dtype)


# --- A residual network of two layers.


def residual_network(params, x_D):
    """z1 = W1 x + b1, h1 = ReLU(z1), z2 = W2 h1 + b2, h2 = ReLU(z2), h3 = h1 + h2, z3 = U h3 + b3, by name.

    ``x_D`` may have any width (He et al. 2016).
    """
    z1 = params["W1"] @ x_D + params["b1"]
    h1 = relu(z1)
    z2 = params["W2"] @ h1 + params["b2"]
    h2 = relu(z2)
    h3 = h1 + h2
    return {"z1": z1, "h1": h1, "z2": z2, "h2": h2, "h3": h3, "z3": params["U"] @ h3 + params["b3"]}


def residual_block_jacobian(params, x_D):
    """dh3/dh1 = I + dh2/dz2 dz2/dh1 = I + diag(1[z2 > 0]) W2 [F, F]."""
    z2 = residual_network(params, x_D)["z2"]
    return jnp.eye(z2.size, dtype=z2.dtype) + relu_derivative(z2)[:, None] * params["W2"]


def residual_network_gradient(params, x_D, y_V):
    """dJ/dx [D] = (p - y) U (I + diag(1[z2 > 0]) W2) diag(1[z1 > 0]) W1, J the cross-entropy of p = softmax(z3)."""
    states = residual_network(params, x_D)
    by_h3 = cross_entropy_gradient(states["z3"], y_V) @ params["U"]
    by_h1 = by_h3 + (by_h3 * relu_derivative(states["z2"])) @ params["W2"]
    return (by_h1 * relu_derivative(states["z1"])) @ params["W1"]


# --- A recurrent network: one step, and one step back.


def sigmoid(z):
    """1 / (1 + exp(-z)), of every element."""
    return 1 / (1 + jnp.exp(-z))


def recurrent_step(params, previous_F, e_D):
    """h = sigmoid(W_h h' + W_e e + b1) from the previous state h' and the input's embedding e (Elman 1990)."""
    return sigmoid(params["W_h"] @ previous_F + params["W_e"] @ e_D + params["b1"])


def recurrent_gradients(params, previous_F, e_D, y_V):
    """Derivatives of J at step t, the cross-entropy of softmax(U h + b2), by all that the step reads.

    delta_1 = dJ/d(U h + b2) = p - y          dJ/dU   = delta_1^T h^T       dJ/db2 = delta_1
    delta_2 = (delta_1 U) * h * (1 - h)       dJ/de   = delta_2 W_e         dJ/dW_e = delta_2^T e^T
                                              dJ/dh'  = delta_2 W_h         dJ/dW_h = delta_2^T h'^T    dJ/db1 = delta_2

    delta_2 is the derivative by W_h h' + W_e e + b1, since sigmoid' = h (1 - h); * is elementwise.
    """
    h_F = recurrent_step(params, previous_F, e_D)
    delta_1 = cross_entropy_gradient(params["U"] @ h_F + params["b2"], y_V)
    return {
        "delta_1": delta_1,
        "dU": jnp.outer(delta_1, h_F),
        "db2": delta_1,
        **recurrent_gradients_from_state(params, previous_F, e_D, delta_1 @ params["U"]),
    }


def recurrent_gradients_from_state(params, previous_F, e_D, by_state_F):
    """Derivatives by all that a step reads, from the derivative by the state h that the step makes.

    One step back, ``by_state_F`` is dJ_t/dh_{t-1} = delta_2 W_h of the step after. Then, with h' and e of step t-1,
    delta_2' = dJ_t/dh_{t-1} * h_{t-1} * (1 - h_{t-1}), and the formulas of ``recurrent_gradients`` hold with delta_2'.
    """
    h_F = recurrent_step(params, previous_F, e_D)
    delta_2 = by_state_F * h_F * (1 - h_F)
    return {
        "delta_2": delta_2,
        "de": delta_2 @ params["W_e"],
        "dW_e": jnp.outer(delta_2, e_D),
        "dW_h": jnp.outer(delta_2, previous_F),
        "db1": delta_2,
        "dh'": delta_2 @ params["W_h"],
    }


# --- A convolution.


def convolution(x_BIJC, kernel_IJCF, stride=1):
    """z[n, i, j, f] = sum over a, b, c of x[n, s i + a, s j + b, c] w[a, b, c, f], without padding."""
    return jax.lax.conv_general_dilated(
        x_BIJC, kernel_IJCF, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolution_kernel_gradient(x_BIJC, delta_BIJF, kernel_size, stride=1):
    """dJ/dw[a, b, c, f] = sum over n, i, j of x[n, s i + a, s j + b, c] delta[n, i, j, f], delta = dJ/dz.

    ``kernel_size`` is (height, width).
    """
    _, rows, columns, _ = delta_BIJF.shape

    def gradient_of_entry(a, b):
        read_BIJC = x_BIJC[:, a : a + stride * rows : stride, b : b + stride * columns : stride]
        return jnp.einsum("nijc,nijf->cf", read_BIJC[:, :rows, :columns], delta_BIJF)

    height, width = kernel_size
    return jnp.stack([jnp.stack([gradient_of_entry(a, b) for b in range(width)]) for a in range(height)])


# --- A ReLU network of two layers, examples as columns.

# The worked example: 6 features of 2 examples, 4 hidden units, 2 outputs. dA_out is given; the loss that it comes from
# does not matter.
WORKED_EXAMPLE = {
    "A_in": [[1, 2], [4, 5], [1, 3], [3, 1], [1, 4], [2, 1]],
    "W1": [[3, 2, -1, 0, -3, 2], [4, -1, -2, 3, 5, -6], [2, -1, 3, 4, -3, 1], [6, -4, 2, -5, 1, 2]],
    "b1": [1, 2, 1, 2],
    "W_out": [[3, -1, 2, -4], [1, -5, -1, 3]],
    "b_out": [4, -5],
    "dA_out": [[3, 5], [2, 4]],
}
LAYERS = ("W1", "b1", "W_out", "b_out")


def two_layer_network(params, A_in_DB):
    """Z1 = W1 A_in + b1, A1 = ReLU(Z1), Z_out = W_out A1 + b_out, A_out = ReLU(Z_out), by name."""
    Z1 = params["W1"] @ A_in_DB + params["b1"][:, None]
    A1 = relu(Z1)
    Z_out = params["W_out"] @ A1 + params["b_out"][:, None]
    return {"Z1": Z1, "A1": A1, "Z_out": Z_out, "A_out": relu(Z_out)}


def two_layer_gradients(params, A_in_DB, dA_out):
    """Derivatives of a loss by all that ``two_layer_network`` reads and makes, from the derivative by its output.

    Gradients are summed over examples.

    dZ_out = dA_out * 1[Z_out > 0]        dW_out = dZ_out A1^T        db_out = row sums of dZ_out
    dA1 = W_out^T dZ_out                  dZ1 = dA1 * 1[Z1 > 0]
    dW1 = dZ1 A_in^T                      db1 = row sums of dZ1       dA_in = W1^T dZ1

    The transposed matrices come from the examples being columns: in dA1 = W_out^T dZ_out each column is the row
    delta W_out of one example, stood upright.
    """
    states = two_layer_network(params, A_in_DB)
    dZ_out = dA_out * relu_derivative(states["Z_out"])
    dA1 = params["W_out"].T @ dZ_out
    dZ1 = dA1 * relu_derivative(states["Z1"])
    return {
        "dZ_out": dZ_out,
        "dW_out": dZ_out @ states["A1"].T,
        "db_out": dZ_out.sum(1),
        "dA1": dA1,
        "dZ1": dZ1,
        "dW1": dZ1 @ A_in_DB.T,
        "db1": dZ1.sum(1),
        "dA_in": params["W1"].T @ dZ1,
    }


def descend(params, gradients, learning_rate):
    """Parameters after one step of gradient descent: each W minus the learning rate times dW."""
    return {name: params[name] - learning_rate * gradients["d" + name] for name in LAYERS}


# --- A chain of equal factors.


def chain(h0, weight, num_steps, scale):
    """J = scale h_T with h_t = weight h_{t-1}: a linear recurrent network of one unit."""
    h = h0
    for _ in range(num_steps):
        h = weight * h
    return scale * h


def chain_gradient(weight, num_steps, scale):
    """dJ/dh_0 = scale weight^T: it vanishes for |weight| < 1 and explodes for |weight| > 1 (Bengio et al. 1994)."""
    return scale * weight**num_steps
