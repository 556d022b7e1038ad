"""Models of ours as folders that Hugging Face's libraries load: config.json and model.safetensors.

A family expresses a Transformer when some model of the family computes the same logits. What the family has and the
Transformer lacks becomes parameters that do nothing: biases and MLPs of zeros, and identities for norms. As RMSNorm
divides by sqrt(mean(x^2) + epsilon), a huge epsilon and a scale of its square root make it the identity, to
mean(x^2) / (2 epsilon) < 1e-10. LayerNorm also subtracts the mean, which is zero if the stream is written twice, once
with the opposite sign; whoever reads it takes half their difference. What no family expresses is written as a family
of our own, "assay", which only ``models.pretrained.folder`` reads.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from models.pretrained import safetensors as safetensors_files
from models.pretrained.config import ACTIVATIONS, FAMILIES
from models.pretrained.tensors import PREFIXES, UNEMBEDDINGS, own_tensors, tensors
from models.transformer import Transformer, sinusoidal_positions, unscanned

EPSILON = 2.0**40  # of a norm that is the identity: it and its square root are exact
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}


def export(folder, config, params, family, first_token=None):
    """Writes the Transformer of a config and its parameters as a folder of a family: gpt2, gpt_neox, llama, qwen2, or
    assay, which expresses every config. first_token is the id that begins every text, where there is one.

    Arrays are float32, whatever they were. Raises ValueError where the family does not express the config, where the
    parameters are not the config's, and where the folder has a model already.
    """
    folder = Path(folder)
    if family not in FAMILIES:
        raise ValueError(f"family={family!r} is not one of {', '.join(FAMILIES)}")
    module, params = unscanned(Transformer(config), params)
    config, flat = module.config, checked(module.config, params)
    if family != "assay":
        config, flat = expressed(family, config, flat)
    keys = {"model_type": family, "bos_token_id": first_token, "eos_token_id": None, "torch_dtype": "float32"}
    keys |= {"transformer": asdict(config)} if family == "assay" else WRITERS[family](config)
    for name in ("config.json", safetensors_files.SINGLE, safetensors_files.INDEX):
        if (folder / name).exists():
            raise ValueError(f"{folder / name} exists already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_files.write(folder / safetensors_files.SINGLE, files(family, config, flat))
    (folder / "config.json").write_text(json.dumps(keys, indent=2) + "\n")


def checked(config, params):
    """{path: array} of parameters; raises ValueError unless they are those of the config's model."""
    flat = {"/".join(key.key for key in keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {tensor.paths[0]: tensor.stored_shape for tensor in own_tensors(config)}
    if different := sorted(set(flat) ^ set(shapes)):
        what = "lack" if different[0] in shapes else "have"
        raise ValueError(f"the parameters {what} {different[0]}, unlike the config's model")
    for path, shape in shapes.items():
        if flat[path].shape != shape:
            raise ValueError(f"parameter {path} has shape {flat[path].shape}; the config's model has {shape}")
    return flat


def files(family, config, flat):
    """(name, dtype, shape, function that returns the array) of what a family's file holds; absent parameters are 0."""
    prefix, unembedding = PREFIXES.get(family, ""), UNEMBEDDINGS.get(family)

    def array(tensor):
        shape = tuple(tensor.sizes[letter] for letter in tensor.axes.removeprefix("3"))
        parts = [flat[path] if path in flat else np.zeros(shape) for path in tensor.paths]
        return tensor.join([np.asarray(part, np.float32) for part in parts])

    return [
        (
            tensor.name if tensor.name == unembedding else prefix + tensor.name,
            np.float32,
            tensor.stored_shape,
            lambda tensor=tensor: array(tensor),
        )
        for tensor in tensors(family, config)
    ]


def expressed(family, config, flat):
    """(config, parameters by path) of the family's model with the same logits; raises ValueError where there is none.

    Biases and MLPs that are to be zero are left out of the parameters.
    """
    c = config
    grouped = family in ("llama", "qwen2")
    norm = "rmsnorm" if grouped else "layernorm"
    positions = ("learned", "sinusoidal", "none") if family == "gpt2" else ("rotary",)
    activations = ("swiglu",) if grouped else tuple(ACTIVATIONS.values())
    identity = c.norm == "none" and family != "gpt_neox"
    for expressible, name in (
        (c.causal, "causal"),
        (c.positions in positions, "positions"),
        (c.norm == norm or identity, "norm"),
        (not c.d_mlp or c.mlp in activations, "mlp"),
        (not c.d_mlp or not c.parallel_residual or family == "gpt_neox", "parallel_residual"),
        (grouped or c.heads_of_keys == c.num_heads, "num_key_value_heads"),
        (grouped or c.norm == "none" or c.num_heads * c.width_of_heads == c.d_model, "head_width"),
        (not grouped or c.d_model % c.num_heads == 0, "num_heads"),
        (family == "gpt_neox" or c.positions != "rotary" or c.rotary.fraction == 1, "rotary"),
        (family != "qwen2" or not c.has_bias("attention_output"), "attention_output_bias"),
        (family != "qwen2" or not c.d_mlp or not c.has_bias("mlp"), "mlp_bias"),
    ):
        if not expressible:
            raise ValueError(
                f"no model of family {family!r} computes the same as one with {name}={getattr(c, name)!r}: "
                "export it as family 'assay', which only this project reads"
            )
    flat = dict(flat)
    if c.positions in ("none", "sinusoidal"):
        at = np.arange(c.context_length)
        table_TD = np.asarray(sinusoidal_positions(at, c.d_model)) * c.d_model**-0.5
        flat["positions"] = table_TD if c.positions == "sinusoidal" else 0 * table_TD
        c = replace(c, positions="learned")
    if not c.d_mlp:
        flat |= {f"layer_{layer}/mlp_norm/scale": np.ones(c.d_model) for layer in range(c.num_layers)}
        c = replace(c, d_mlp=1, mlp=activations[0])
    if identity and not grouped:
        c, flat = mirrored(c, flat)
    if identity:
        norms = [f"layer_{layer}/{name}_norm" for layer in range(c.num_layers) for name in ("attention", "mlp")]
        flat |= {f"{path}/scale": np.full(c.d_model, EPSILON**0.5) for path in [*norms, "final_norm"]}
        c = replace(c, norm=norm, norm_epsilon=EPSILON)
    return with_biases(family, c), flat


def with_biases(family, config):
    """The config with the biases that the family's model has."""
    attention = config.has_bias("query_key_value") or config.has_bias("attention_output")
    if family == "qwen2":
        attention, output, mlp, rest = True, False, False, False
    elif family == "llama":
        attention, output, mlp, rest = attention, attention, config.has_bias("mlp"), False
    else:
        attention = output = attention or family == "gpt2"
        mlp = rest = True
    return replace(config, bias=rest, query_key_value_bias=attention, attention_output_bias=output, mlp_bias=mlp)


def mirrored(config, flat):
    """(config, parameters) of the same function whose stream is x, -x and zeros, and has the mean 0.

    Its width is a multiple of the heads, as some families want; so are the heads' widths, filled up with zeros. Reading
    half the difference of x and -x keeps composition scores and eigenvalues as they were.
    """
    D, H, C = config.d_model, config.num_heads, config.width_of_heads
    wide_C = -(-max(2 * D, H * C) // H)
    wide_D = wide_C * H

    def widened(x, axis, size):
        return np.pad(x, [(0, size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    def both(x, axis):
        return widened(np.concatenate([x, -x], axis), axis, wide_D)

    found = {path: np.asarray(x) for path, x in flat.items()}
    if config.tied_unembedding:
        found["unembed/kernel"] = found["embed"].T
    for path, x in found.items():
        if path in ("embed", "positions") or "/output/" in path or "/mlp_project/" in path:  # what writes the stream
            x = both(x, x.ndim - 1)
        elif path.endswith("/kernel"):  # what reads it
            x = both(x / 2, 0)
        if "/attention/" in path and "/output/bias" not in path:
            x = widened(x, x.ndim - 2 if "/output/" in path else x.ndim - 1, wide_C)
        if "/query/" in path:
            x = x * (wide_C / C) ** 0.5  # scores are divided by the root of the heads' width
        found[path] = x
    return replace(config, d_model=wide_D, head_width=wide_C, tied_unembedding=False), found


def activation_name(config):
    return next(name for name, kind in ACTIVATIONS.items() if kind == config.mlp)


def gpt2_keys(config):
    """config.json of a GPT-2."""
    return {
        "architectures": [ARCHITECTURES["gpt2"]],
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.d_mlp,
        "activation_function": activation_name(config),
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tied_unembedding,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def shared_keys(family, config):
    """What the config.json of every other family holds."""
    return {
        "architectures": [ARCHITECTURES[family]],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_mlp,
        "tie_word_embeddings": config.tied_unembedding,
        "rope_scaling": rotary_keys(config.rotary),
    }


def gpt_neox_keys(config):
    """config.json of a GPT-NeoX."""
    return shared_keys("gpt_neox", config) | {
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config),
        "use_parallel_residual": config.parallel_residual,
        "attention_bias": config.has_bias("query_key_value"),
        "rotary_emb_base": config.rotary.base,
        "rotary_pct": config.rotary.fraction,
        "hidden_dropout": config.dropout,
    }


def llama_keys(config):
    """config.json of a Llama."""
    return grouped_keys("llama", config) | {
        "attention_bias": config.has_bias("query_key_value"),
        "mlp_bias": config.has_bias("mlp"),
    }


def grouped_keys(family, config):
    """config.json of a Qwen2, and most of a Llama's."""
    head_width = {} if config.head_width is None else {"head_dim": config.head_width}
    return (
        shared_keys(family, config)
        | head_width
        | {
            "num_key_value_heads": config.heads_of_keys,
            "hidden_act": "silu",
            "rms_norm_eps": config.norm_epsilon,
            "rope_theta": config.rotary.base,
        }
    )


def rotary_keys(rotary):
    """``rope_scaling``, in the form that older and newer versions of the reference read; None where there is none."""
    if rotary.kind == "default":
        return None
    keys = {"rope_type": rotary.kind, "factor": rotary.factor}
    if rotary.kind != "linear":
        keys["original_max_position_embeddings"] = rotary.original_context_length
    if rotary.kind == "llama3":
        keys |= {"low_freq_factor": rotary.low_frequency_factor, "high_freq_factor": rotary.high_frequency_factor}
    if rotary.kind == "yarn":
        keys |= {"beta_fast": rotary.fast_turns, "beta_slow": rotary.slow_turns, "truncate": rotary.whole_channels}
        if rotary.attention_scale is not None:
            keys["attention_factor"] = rotary.attention_scale
    return keys


WRITERS = {
    "gpt2": gpt2_keys,
    "gpt_neox": gpt_neox_keys,
    "llama": llama_keys,
    "qwen2": lambda config: grouped_keys("qwen2", config),
}
