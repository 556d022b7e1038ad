"""What a pretrained model's config.json says, as a TransformerConfig: every key is understood or the file is refused.

The functions below take what they understand out of ``left``, a copy of the file's keys.
"""

import math
import re
from dataclasses import fields

from models.rotary import KINDS, Rotary
from models.transformer import TransformerConfig

ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact", "relu": "relu"}
# Keys of config.json that change nothing of the logits: metadata, training, generation, other heads, precision.
HARMLESS = frozenset(
    re.findall(
        r"\w+",
        """
    architectures model_type transformers_version torch_dtype dtype name_or_path _name_or_path _commit_hash
    attn_implementation _attn_implementation use_cache use_bfloat16 torchscript return_dict output_attentions
    output_hidden_states keys_to_ignore_at_inference chunk_size_feed_forward gradient_checkpointing is_decoder
    initializer_range bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id unk_token_id
    tokenizer_class prefix task_specific_params id2label label2id num_labels problem_type finetuning_task
    tie_encoder_decoder tie_last_hidden_states max_length min_length do_sample early_stopping num_beams
    num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores
    return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    attention_dropout hidden_dropout classifier_dropout resid_pdrop embd_pdrop attn_pdrop
    n_ctx summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
    reorder_and_upcast_attn pretraining_tp
    """,
    )
)
# Keys that would change the logits, and the values with which they do not.
NEUTRAL = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (),
    "pruned_heads": ({},),
    "per_layer_config": ({},),
    "quantization_config": (),
    "auto_map": (),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}
REQUIRED = object()


def take(left, name, kind, default=REQUIRED):
    """The value of a key, removed from ``left``; raises ValueError where it is required or of another kind."""
    value = left.pop(name, default)
    if value is REQUIRED:
        raise ValueError(f"config.json lacks {name}")
    if value is default:
        return value
    expected, fits = {
        int: ("a positive whole number", type(value) is int and value > 0),
        float: ("a finite number", type(value) in (int, float) and math.isfinite(value)),
        bool: ("true or false", type(value) is bool),
        str: ("a string", type(value) is str),
        list: ("a list", type(value) is list),
        dict: ("an object", type(value) is dict),
    }[kind]
    if not fits:
        raise ValueError(f"config.json: {name}={value!r} must be {expected}")
    return float(value) if kind is float else value


def refuse(left, name, *neutral):
    """Raises ValueError unless a key is absent or has one of the values that change nothing."""
    value = left.pop(name, REQUIRED)
    if value is not REQUIRED and value not in neutral:
        only = f" (only {' or '.join(map(repr, neutral))} is)" if neutral else ""
        raise ValueError(f"config.json: {name}={value!r} would change the logits and is not supported{only}")


def activation(left, name, default):
    """The MLP's kind by the reference's name of its activation function."""
    value = take(left, name, str, default)
    if value not in ACTIVATIONS:
        raise ValueError(f"config.json: {name}={value!r} is not supported; {', '.join(ACTIVATIONS)} are")
    return ACTIVATIONS[value]


def read_rotary(left, context_length, base=10000.0, fraction=1.0):
    """Rotary positions by ``rope_parameters`` or, in older files, ``rope_scaling``; raises ValueError for other kinds.

    base and fraction hold where neither gives its own.
    """
    newer = take(left, "rope_parameters", dict, {})
    values = {
        name: value for name, value in (take(left, "rope_scaling", dict, {}) or newer).items() if value is not None
    }
    older = take(values, "type", str, "default")
    kind = take(values, "rope_type", str, older)
    if kind not in KINDS:
        raise ValueError(f"config.json: rotary positions of kind {kind!r} are not supported; {', '.join(KINDS)} are")
    settings = {
        "kind": kind,
        "base": take(values, "rope_theta", float, base),
        "fraction": take(values, "partial_rotary_factor", float, fraction),
    }
    if kind != "default":
        settings["factor"] = take(values, "factor", float)
    if kind in ("llama3", "yarn"):
        settings["original_context_length"] = take(values, "original_max_position_embeddings", int, context_length)
    if kind == "llama3":
        settings["low_frequency_factor"] = take(values, "low_freq_factor", float)
        settings["high_frequency_factor"] = take(values, "high_freq_factor", float)
    if kind == "yarn":
        settings["fast_turns"] = take(values, "beta_fast", float, 32.0)
        settings["slow_turns"] = take(values, "beta_slow", float, 1.0)
        settings["whole_channels"] = take(values, "truncate", bool, True)
        settings["attention_scale"] = yarn_attention_scale(values, settings["factor"])
    if values:
        name = min(values)
        raise ValueError(f"config.json: rotary setting {name}={values[name]!r} is not supported with kind {kind!r}")
    return Rotary(**settings)


def yarn_attention_scale(values, factor):
    """YaRN's attention factor where the file gives one, or two magnitude scales whose ratio it is; otherwise None."""
    given = take(values, "attention_factor", float, None)
    scales = [take(values, name, float, 0.0) for name in ("mscale", "mscale_all_dim")]
    if given is not None or not all(scales):
        return given
    numerator, denominator = (0.1 * scale * math.log(max(factor, 1.0)) + 1.0 for scale in scales)
    return numerator / denominator


def gpt2_config(left):
    """TransformerConfig fields by the keys of a GPT-2."""
    d_model = take(left, "n_embd", int)
    return {
        "context_length": take(left, "n_positions", int, 1024),
        "num_layers": take(left, "n_layer", int),
        "num_heads": take(left, "n_head", int),
        "d_model": d_model,
        "d_mlp": take(left, "n_inner", int, 4 * d_model),
        "positions": "learned",
        "norm": "layernorm",
        "norm_epsilon": take(left, "layer_norm_epsilon", float, 1e-5),
        "mlp": activation(left, "activation_function", "gelu_new"),
        "bias": True,
        "tied_unembedding": take(left, "tie_word_embeddings", bool, True),
    }


def gpt_neox_config(left):
    """TransformerConfig fields by the keys of a GPT-NeoX or Pythia."""
    context_length = take(left, "max_position_embeddings", int, 2048)
    rotary = read_rotary(
        left,
        context_length,
        take(left, "rotary_emb_base", float, 10000.0),
        take(left, "rotary_pct", float, 0.25),
    )
    # Written beside rotary_emb_base and rotary_pct by some versions of the reference, and read by none.
    refuse(left, "rope_theta", rotary.base)
    refuse(left, "partial_rotary_factor", rotary.fraction)
    attention_bias = take(left, "attention_bias", bool, True)
    return {
        "context_length": context_length,
        "num_layers": take(left, "num_hidden_layers", int),
        "num_heads": take(left, "num_attention_heads", int),
        "d_model": take(left, "hidden_size", int),
        "d_mlp": take(left, "intermediate_size", int),
        "positions": "rotary",
        "rotary": rotary,
        "norm": "layernorm",
        "norm_epsilon": take(left, "layer_norm_eps", float, 1e-5),
        "mlp": activation(left, "hidden_act", "gelu"),
        "parallel_residual": take(left, "use_parallel_residual", bool, True),
        "bias": True,
        "query_key_value_bias": attention_bias,
        "attention_output_bias": attention_bias,
        "tied_unembedding": take(left, "tie_word_embeddings", bool, False),
    }


def llama_config(left):
    """TransformerConfig fields by the keys of a Llama 1, 2 or 3."""
    attention_bias = take(left, "attention_bias", bool, False)
    mlp_bias = take(left, "mlp_bias", bool, False)
    refuse(left, "sliding_window")
    return grouped_config(left, 2048) | {
        "query_key_value_bias": attention_bias,
        "attention_output_bias": attention_bias,
        "mlp_bias": mlp_bias,
    }


def qwen2_config(left):
    """TransformerConfig fields by the keys of a Qwen2 or Qwen2.5."""
    refuse(left, "use_sliding_window", False)
    for name in ("sliding_window", "max_window_layers"):  # read only with use_sliding_window
        left.pop(name, None)
    return grouped_config(left, 32768) | {
        "query_key_value_bias": True,
        "attention_output_bias": False,
        "mlp_bias": False,
    }


def grouped_config(left, context_length):
    """The fields that Llama and Qwen2 share."""
    context_length = take(left, "max_position_embeddings", int, context_length)
    num_layers = take(left, "num_hidden_layers", int)
    num_heads = take(left, "num_attention_heads", int)
    refuse(left, "hidden_act", "silu", "swish")
    refuse(left, "partial_rotary_factor", 1.0)
    for kind in take(left, "layer_types", list, []):
        refuse({"layer_types": kind}, "layer_types", "full_attention")
    rotary = read_rotary(left, context_length, take(left, "rope_theta", float, 10000.0))
    if rotary.fraction != 1:
        raise ValueError("config.json: partial_rotary_factor other than 1 is not supported for this model_type")
    return {
        "context_length": context_length,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_key_value_heads": take(left, "num_key_value_heads", int, num_heads),
        "d_model": take(left, "hidden_size", int),
        "head_width": take(left, "head_dim", int, None),
        "d_mlp": take(left, "intermediate_size", int),
        "positions": "rotary",
        "rotary": rotary,
        "norm": "rmsnorm",
        "norm_epsilon": take(left, "rms_norm_eps", float, 1e-6),
        "mlp": "swiglu",
        "bias": False,
        "tied_unembedding": take(left, "tie_word_embeddings", bool, False),
    }


def assay_config(left):
    """Our own TransformerConfig, written out field by field."""
    settings = take(left, "transformer", dict)
    rotary = take(settings, "rotary", dict, {})
    known = {field.name for field in fields(TransformerConfig)}, {field.name for field in fields(Rotary)}
    for values, names in zip((settings, rotary), known, strict=True):
        if unknown := sorted(set(values) - names):
            raise ValueError(f"config.json: transformer setting {unknown[0]} is not known")
    try:
        return settings | {"rotary": Rotary(**rotary)}
    except TypeError as error:
        raise ValueError(f"config.json: {error}") from None


def read_config(keys):
    """(family's name, TransformerConfig) by the keys of a config.json.

    Every key is mapped, checked to have a value that changes nothing, or known not to matter for the logits; raises
    ValueError with the key's name otherwise, and for a model_type that is not among FAMILIES. Null means absent.
    """
    left = {name: value for name, value in keys.items() if value is not None}
    name = take(left, "model_type", str)
    if name not in FAMILIES:
        raise ValueError(f"config.json: model_type={name!r} is not supported; {', '.join(FAMILIES)} are")
    for key, neutral in NEUTRAL.items():
        refuse(left, key, *neutral)
    settings = FAMILIES[name](left)
    if name != "assay":
        settings["vocab_size"] = take(left, "vocab_size", int)
    if unknown := sorted(set(left) - HARMLESS):
        values = ", ".join(f"{key}={left[key]!r}" for key in unknown)
        raise ValueError(f"config.json: {values} is not known for model_type={name!r} and may change the logits")
    try:
        return name, TransformerConfig(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.json: {error}") from None


FAMILIES = {
    "gpt2": gpt2_config,
    "gpt_neox": gpt_neox_config,
    "llama": llama_config,
    "qwen2": qwen2_config,
    "assay": assay_config,
}
