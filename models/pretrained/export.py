"""Models of ours as folders that Hugging Face's libraries load: config.json and model.safetensors.

A family expresses a Transformer when some model of the family computes the same logits. Parts that the family has and
the Transformer lacks become parameters that do nothing: biases and MLPs of zeros, and norms that are identities. As
RMSNorm divides by sqrt(mean(x^2) + epsilon), a huge epsilon and a scale of its square root make it the identity, to
mean(x^2) / (2 epsilon) < 1e-10. LayerNorm also subtracts the mean, which is zero when the stream holds x and -x; every
layer that reads the stream then takes half their difference. A Transformer that no family expresses is written as a
family of our own, "assay", which only ``models.pretrained.folder`` reads.
"""

import functools
import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from models.pretrained.config import FAMILIES, MLP_KINDS
from models.pretrained.safetensors import INDEX_FILE, SINGLE_FILE, write_arrays
from models.pretrained.tensors import PREFIXES, UNEMBEDDINGS, family_tensors, parameter_tensors
from models.transformer import Transformer, sinusoidal_positions, unscanned

IDENTITY_EPSILON = 2.0**40  # epsilon of a norm that is the identity; it and its square root are exact in float32
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}


def export(folder, config, params, family, first_token=None):
    """Writes the Transformer of a config and its parameters as a folder of a family.

    Arrays are written as float32, whatever their dtype was.

    Args:
      family: gpt2, gpt_neox, llama, qwen2, or assay, which expresses every config.
      first_token: id of the token that begins every text, where there is one.
    Raises:
      ValueError: the family does not express the config, the parameters are not those of the config's model, or the
        folder holds a model already.
    """
    folder = Path(folder)
    if family not in FAMILIES:
        raise ValueError(f"family={family!r} is not one of {', '.join(FAMILIES)}")
    module, params = unscanned(Transformer(config), params)
    config, flat = module.config, flatten_params(module.config, params)
    if family != "assay":
        config, flat = express(family, config, flat)
    keys = {"model_type": family, "bos_token_id": first_token, "eos_token_id": None, "torch_dtype": "float32"}
    keys |= {"transformer": asdict(config)} if family == "assay" else FAMILY_KEYS[family](config)
    for name in ("config.json", SINGLE_FILE, INDEX_FILE):
        if (folder / name).exists():
            raise ValueError(f"{folder / name} exists already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / SINGLE_FILE, stored_rows(family, config, flat))
    (folder / "config.json").write_text(json.dumps(keys, indent=2) + "\n")


def flatten_params(config, params):
    """Turns nested parameters into {path: array}; raises ValueError unless they are those of the config's model."""
    flat = {"/".join(key.key for key in keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {tensor.paths[0]: tensor.stored_shape for tensor in parameter_tensors(config)}
    if different := sorted(set(flat) ^ set(shapes)):
        verb = "lack" if different[0] in shapes else "have"
        raise ValueError(f"the parameters {verb} {different[0]}, unlike the config's model")
    for path, shape in shapes.items():
        if flat[path].shape != shape:
            raise ValueError(f"parameter {path} has shape {flat[path].shape}; the config's model has {shape}")
    return flat


def stored_rows(family, config, flat):
    """The rows of ``write_arrays`` for a family's file; parameters that ``flat`` lacks are 0."""
    prefix, unembedding = PREFIXES.get(family, ""), UNEMBEDDINGS.get(family)

    def make_array(tensor):
        shape = tuple(tensor.sizes[letter] for letter in tensor.axes.removeprefix("3"))
        parts = [flat[path] if path in flat else np.zeros(shape) for path in tensor.paths]
        return tensor.join([np.asarray(part, np.float32) for part in parts])

    return [
        (
            tensor.name if tensor.name == unembedding else prefix + tensor.name,
            np.float32,
            tensor.stored_shape,
            lambda tensor=tensor: make_array(tensor),
        )
        for tensor in family_tensors(family, config)
    ]


def express(family, config, flat):
    """(config, parameters by path) of the family's model with the same logits; raises ValueError where there is none.

    Biases and MLPs of zeros are left out of the parameters.
    """
    c = config
    is_llama_or_qwen2 = family in ("llama", "qwen2")
    norm = "rmsnorm" if is_llama_or_qwen2 else "layernorm"
    positions = ("learned", "sinusoidal", "none") if family == "gpt2" else ("rotary",)
    mlp_kinds = ("swiglu",) if is_llama_or_qwen2 else tuple(MLP_KINDS.values())
    needs_identity_norms = c.norm == "none" and family != "gpt_neox"
    for expressible, name in (
        (c.causal, "causal"),
        (c.positions in positions, "positions"),
        (c.norm == norm or needs_identity_norms, "norm"),
        (not c.d_mlp or c.mlp in mlp_kinds, "mlp"),
        (not c.d_mlp or not c.parallel_residual or family == "gpt_neox", "parallel_residual"),
        (is_llama_or_qwen2 or c.heads_of_keys == c.num_heads, "num_key_value_heads"),
        (is_llama_or_qwen2 or c.norm == "none" or c.num_heads * c.width_of_heads == c.d_model, "head_width"),
        (not is_llama_or_qwen2 or c.d_model % c.num_heads == 0, "num_heads"),
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
        table_TD = np.asarray(sinusoidal_positions(np.arange(c.context_length), c.d_model)) * c.d_model**-0.5
        flat["positions"] = table_TD if c.positions == "sinusoidal" else 0 * table_TD
        c = replace(c, positions="learned")
    if not c.d_mlp:
        flat |= {f"layer_{layer}/mlp_norm/scale": np.ones(c.d_model) for layer in range(c.num_layers)}
        c = replace(c, d_mlp=1, mlp=mlp_kinds[0])
    if needs_identity_norms and not is_llama_or_qwen2:
        c, flat = mirror_stream(c, flat)
    if needs_identity_norms:
        norms = [f"layer_{layer}/{name}_norm" for layer in range(c.num_layers) for name in ("attention", "mlp")]
        flat |= {f"{path}/scale": np.full(c.d_model, IDENTITY_EPSILON**0.5) for path in [*norms, "final_norm"]}
        c = replace(c, norm=norm, norm_epsilon=IDENTITY_EPSILON)
    return add_biases(family, c), flat


def add_biases(family, config):
    """The config with the biases that the family's model has."""
    attention = config.has_bias("query_key_value") or config.has_bias("attention_output")
    if family == "qwen2":
        attention, output, mlp, elsewhere = True, False, False, False
    elif family == "llama":
        attention, output, mlp, elsewhere = attention, attention, config.has_bias("mlp"), False
    else:
        attention = output = attention or family == "gpt2"
        mlp = elsewhere = True
    return replace(config, bias=elsewhere, query_key_value_bias=attention, attention_output_bias=output, mlp_bias=mlp)


def mirror_stream(config, flat):
    """(config, parameters) of the same function with a stream that holds x, -x and zeros, and so has the mean 0.

    The stream is as wide as all heads together, which some families require; heads are filled up with zeros. Reading
    half the difference of x and -x keeps composition scores and eigenvalues as they were.
    """
    D, H, C = config.d_model, config.num_heads, config.width_of_heads
    wide_C = -(-max(2 * D, H * C) // H)
    wide_D = wide_C * H

    def fill_up(x, axis, size):
        return np.pad(x, [(0, size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    def mirror(x, axis):
        return fill_up(np.concatenate([x, -x], axis), axis, wide_D)

    mirrored = {path: np.asarray(x) for path, x in flat.items()}
    if config.tied_unembedding:
        mirrored["unembed/kernel"] = mirrored["embed"].T
    for path, x in mirrored.items():
        if path in ("embed", "positions") or "/output/" in path or "/mlp_project/" in path:  # it writes the stream
            x = mirror(x, x.ndim - 1)
        elif path.endswith("/kernel"):  # it reads the stream
            x = mirror(x / 2, 0)
        if "/attention/" in path and "/output/bias" not in path:
            x = fill_up(x, x.ndim - 2 if "/output/" in path else x.ndim - 1, wide_C)
        if "/query/" in path:
            x = x * (wide_C / C) ** 0.5  # scores are divided by the root of the heads' width
        mirrored[path] = x
    return replace(config, d_model=wide_D, head_width=wide_C, tied_unembedding=False), mirrored


def activation_name(config):
    """The reference's name of the MLP's activation function."""
    return next(name for name, kind in MLP_KINDS.items() if kind == config.mlp)


def gpt2_keys(config):
    """The keys of a GPT-2's config.json."""
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
    """The keys that the config.json of every family but GPT-2 holds."""
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
    """The keys of a GPT-NeoX's config.json."""
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
    """The keys of a Llama's config.json."""
    return llama_and_qwen2_keys("llama", config) | {
        "attention_bias": config.has_bias("query_key_value"),
        "mlp_bias": config.has_bias("mlp"),
    }


def llama_and_qwen2_keys(family, config):
    """The keys that a Llama's and a Qwen2's config.json share; a Qwen2 has no others."""
    keys = shared_keys(family, config) | {
        "num_key_value_heads": config.heads_of_keys,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rotary.base,
    }
    return keys if config.head_width is None else keys | {"head_dim": config.head_width}


def rotary_keys(rotary):
    """The value of ``rope_scaling`` in the form that old and new versions of the reference read; None for default."""
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


FAMILY_KEYS = {
    "gpt2": gpt2_keys,
    "gpt_neox": gpt_neox_keys,
    "llama": llama_keys,
    "qwen2": functools.partial(llama_and_qwen2_keys, "qwen2"),
}
