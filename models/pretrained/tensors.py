"""The arrays that a pretrained model's files hold, and how they become parameters of a Transformer, and back.

Axes: V vocabulary, T context length, D model width, H heads, G key and value heads, C head width, F hidden width of the
MLP, 3 query, key and value. A word such as ``3HC`` is one axis of the stored array: the product of its letters, of
which the last one varies fastest.
"""

import math
import re
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.transformer import Transformer

# Each row: (name in the file, axes in the file, axes of the parameter, path of the parameter). {} is the layer; a star
# stands for query, key and value in turn.
GPT2_ROWS = (
    ("wte.weight", "V D", "VD", "embed"),
    ("wpe.weight", "T D", "TD", "positions"),
    ("h.{}.ln_1.weight", "D", "D", "layer_{}/attention_norm/scale"),
    ("h.{}.ln_1.bias", "D", "D", "layer_{}/attention_norm/bias"),
    ("h.{}.attn.c_attn.weight", "D 3HC", "3DHC", "layer_{}/attention/*/kernel"),
    ("h.{}.attn.c_attn.bias", "3HC", "3HC", "layer_{}/attention/*/bias"),
    ("h.{}.attn.c_proj.weight", "HC D", "HCD", "layer_{}/attention/output/kernel"),
    ("h.{}.attn.c_proj.bias", "D", "D", "layer_{}/attention/output/bias"),
    ("h.{}.ln_2.weight", "D", "D", "layer_{}/mlp_norm/scale"),
    ("h.{}.ln_2.bias", "D", "D", "layer_{}/mlp_norm/bias"),
    ("h.{}.mlp.c_fc.weight", "D F", "DF", "layer_{}/mlp_in/kernel"),
    ("h.{}.mlp.c_fc.bias", "F", "F", "layer_{}/mlp_in/bias"),
    ("h.{}.mlp.c_proj.weight", "F D", "FD", "layer_{}/mlp_project/kernel"),
    ("h.{}.mlp.c_proj.bias", "D", "D", "layer_{}/mlp_project/bias"),
    ("ln_f.weight", "D", "D", "final_norm/scale"),
    ("ln_f.bias", "D", "D", "final_norm/bias"),
    ("lm_head.weight", "V D", "DV", "unembed/kernel"),
)
GPT_NEOX_ROWS = (
    ("embed_in.weight", "V D", "VD", "embed"),
    ("layers.{}.input_layernorm.weight", "D", "D", "layer_{}/attention_norm/scale"),
    ("layers.{}.input_layernorm.bias", "D", "D", "layer_{}/attention_norm/bias"),
    ("layers.{}.attention.query_key_value.weight", "H3C D", "3DHC", "layer_{}/attention/*/kernel"),
    ("layers.{}.attention.query_key_value.bias", "H3C", "3HC", "layer_{}/attention/*/bias"),
    ("layers.{}.attention.dense.weight", "D HC", "HCD", "layer_{}/attention/output/kernel"),
    ("layers.{}.attention.dense.bias", "D", "D", "layer_{}/attention/output/bias"),
    ("layers.{}.post_attention_layernorm.weight", "D", "D", "layer_{}/mlp_norm/scale"),
    ("layers.{}.post_attention_layernorm.bias", "D", "D", "layer_{}/mlp_norm/bias"),
    ("layers.{}.mlp.dense_h_to_4h.weight", "F D", "DF", "layer_{}/mlp_in/kernel"),
    ("layers.{}.mlp.dense_h_to_4h.bias", "F", "F", "layer_{}/mlp_in/bias"),
    ("layers.{}.mlp.dense_4h_to_h.weight", "D F", "FD", "layer_{}/mlp_project/kernel"),
    ("layers.{}.mlp.dense_4h_to_h.bias", "D", "D", "layer_{}/mlp_project/bias"),
    ("final_layer_norm.weight", "D", "D", "final_norm/scale"),
    ("final_layer_norm.bias", "D", "D", "final_norm/bias"),
    ("embed_out.weight", "V D", "DV", "unembed/kernel"),
)
LLAMA_ROWS = (
    ("embed_tokens.weight", "V D", "VD", "embed"),
    ("layers.{}.input_layernorm.weight", "D", "D", "layer_{}/attention_norm/scale"),
    ("layers.{}.self_attn.q_proj.weight", "HC D", "DHC", "layer_{}/attention/query/kernel"),
    ("layers.{}.self_attn.q_proj.bias", "HC", "HC", "layer_{}/attention/query/bias"),
    ("layers.{}.self_attn.k_proj.weight", "GC D", "DGC", "layer_{}/attention/key/kernel"),
    ("layers.{}.self_attn.k_proj.bias", "GC", "GC", "layer_{}/attention/key/bias"),
    ("layers.{}.self_attn.v_proj.weight", "GC D", "DGC", "layer_{}/attention/value/kernel"),
    ("layers.{}.self_attn.v_proj.bias", "GC", "GC", "layer_{}/attention/value/bias"),
    ("layers.{}.self_attn.o_proj.weight", "D HC", "HCD", "layer_{}/attention/output/kernel"),
    ("layers.{}.self_attn.o_proj.bias", "D", "D", "layer_{}/attention/output/bias"),
    ("layers.{}.post_attention_layernorm.weight", "D", "D", "layer_{}/mlp_norm/scale"),
    ("layers.{}.mlp.gate_proj.weight", "F D", "DF", "layer_{}/mlp_gate/kernel"),
    ("layers.{}.mlp.gate_proj.bias", "F", "F", "layer_{}/mlp_gate/bias"),
    ("layers.{}.mlp.up_proj.weight", "F D", "DF", "layer_{}/mlp_in/kernel"),
    ("layers.{}.mlp.up_proj.bias", "F", "F", "layer_{}/mlp_in/bias"),
    ("layers.{}.mlp.down_proj.weight", "D F", "FD", "layer_{}/mlp_project/kernel"),
    ("layers.{}.mlp.down_proj.bias", "D", "D", "layer_{}/mlp_project/bias"),
    ("norm.weight", "D", "D", "final_norm/scale"),
    ("lm_head.weight", "V D", "DV", "unembed/kernel"),
)
FAMILY_ROWS = {"gpt2": GPT2_ROWS, "gpt_neox": GPT_NEOX_ROWS, "llama": LLAMA_ROWS, "qwen2": LLAMA_ROWS}
# In files saved together with a language-model head, every name but the unembedding's begins with its family's prefix.
PREFIXES = {"gpt2": "transformer.", "gpt_neox": "gpt_neox.", "llama": "model.", "qwen2": "model."}
UNEMBEDDINGS = {
    "gpt2": "lm_head.weight",
    "gpt_neox": "embed_out.weight",
    "llama": "lm_head.weight",
    "qwen2": "lm_head.weight",
}
# {family: {name that newer versions of the reference write: the older name}}
OLDER_NAMES = {"gpt_neox": {"lm_head.weight": "embed_out.weight"}}
# The names of arrays that hold no parameters: causal masks, and frequencies, which follow from config.json.
BUFFER_PATTERNS = {
    "gpt2": r"h\.\d+\.attn\.(masked_)?bias",
    "gpt_neox": r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
    "llama": r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
}


class Tensor(NamedTuple):
    """One stored array, and the one or three parameters that it holds.

    name:        the array's name in the file, without the family's prefix
    stored_axes: axes in the file, a word of letters for each
    axes:        axes of the parameters, a letter for each; a leading 3 is split over three parameters
    paths:       paths of the parameters
    sizes:       {axis letter: size}
    """

    name: str
    stored_axes: str
    axes: str
    paths: tuple[str, ...]
    sizes: dict

    @property
    def letters(self):
        return self.stored_axes.replace(" ", "")

    @property
    def stored_shape(self):
        return tuple(math.prod(self.sizes[letter] for letter in word) for word in self.stored_axes.split())

    def split(self, array):
        """Turns the stored array into the parameters' arrays, which are views of it."""
        array = array.reshape([self.sizes[letter] for letter in self.letters])
        array = array.transpose([self.letters.index(letter) for letter in self.axes])
        return list(array) if self.axes.startswith("3") else [array]

    def join(self, arrays):
        """Turns the parameters' arrays into the stored array; the inverse of ``split``."""
        array = np.stack(arrays) if self.axes.startswith("3") else arrays[0]
        return array.transpose([self.axes.index(letter) for letter in self.letters]).reshape(self.stored_shape)


def axis_sizes(config):
    """{axis letter: size} of a TransformerConfig."""
    return {
        "V": config.vocab_size,
        "T": config.context_length,
        "D": config.d_model,
        "H": config.num_heads,
        "G": config.heads_of_keys,
        "C": config.width_of_heads,
        "F": config.d_mlp,
        "3": 3,
    }


# (pattern of a bias's path, the part of the model that ``TransformerConfig.has_bias`` knows it by)
BIAS_PARTS = (
    ("attention/(query|key|value|[*])/", "query_key_value"),
    ("attention/output/", "attention_output"),
    ("mlp_(in|gate|project)/", "mlp"),
)


def has_bias(config, path):
    """Whether the Transformer of a config has the bias at a path."""
    part = next((part for pattern, part in BIAS_PARTS if re.search(pattern, path)), None)
    return config.bias if part is None else config.has_bias(part)


def family_tensors(family, config):
    """[Tensor] that the files of a family's model hold."""
    if family == "assay":
        return parameter_tensors(config)
    sizes, tensors = axis_sizes(config), []
    for name, stored_axes, axes, path in FAMILY_ROWS[family]:
        if path == "unembed/kernel" and config.tied_unembedding:
            continue
        if path.endswith("/bias") and not has_bias(config, path):
            continue
        for layer in range(config.num_layers) if "{}" in name else (0,):
            layer_path = path.format(layer)
            parts = ("query", "key", "value") if "*" in layer_path else ("",)
            paths = tuple(layer_path.replace("*", part) for part in parts)
            tensors.append(Tensor(name.format(layer), stored_axes, axes, paths, sizes))
    return tensors


def parameter_tensors(config):
    """[Tensor] of a Transformer's parameters as they are: each named by its path, with dots, and of its own shape."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    params = jax.eval_shape(Transformer(config).init, jax.random.key(0), tokens)["params"]
    tensors = []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = "/".join(key.key for key in keys)
        sizes = dict(zip(string.ascii_lowercase, leaf.shape, strict=False))
        axes = "".join(sizes)
        tensors.append(Tensor(path.replace("/", "."), " ".join(axes), axes, (path,), sizes))
    return tensors
