"""A pretrained model's config.json as a TransformerConfig: every key is understood, or the file is refused.

``keys`` is a copy of what the file holds. Each function below removes the keys that it understands from it; whatever
remains at the end is refused, unless it is known not to matter.
"""

import math
from dataclasses import fields

from models.rotary import ROTARY_KINDS, Rotary
from models.transformer import TransformerConfig

# {the reference's name of an activation function: kind of the MLP in TransformerConfig}
MLP_KINDS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact", "relu": "relu"}
# Keys of config.json that do not change the logits: metadata, training, generation, other heads, precision.
HARMLESS_KEYS = frozenset(
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
    """.split()  # noqa: SIM905 (as a list it would take 90 lines)
)
# Keys that can change the logits, and the values with which they do not.
NEUTRAL_VALUES = {
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


def take(keys, name, kind, default=REQUIRED):
    """Removes a key and returns its value; raises ValueError for a value of another kind, or a missing required key."""
    value = keys.pop(name, default)
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


def refuse(keys, name, *neutral):
    """Removes a key; raises ValueError unless it is absent or has one of the neutral values, which change nothing."""
    value = keys.pop(name, REQUIRED)
    if value is not REQUIRED and value not in neutral:
        supported = f" (only {' or '.join(map(repr, neutral))} is)" if neutral else ""
        raise ValueError(f"config.json: {name}={value!r} would change the logits and is not supported{supported}")


def take_mlp_kind(keys, name, default):
    """The MLP's kind, by the key that holds the reference's name of the activation function."""
    value = take(keys, name, str, default)
    if value not in MLP_KINDS:
        raise ValueError(f"config.json: {name}={value!r} is not supported; {', '.join(MLP_KINDS)} are")
    return MLP_KINDS[value]


def take_rotary(keys, context_length, base=10000.0, fraction=1.0):
    """The Rotary by ``rope_parameters`` or, in older files, ``rope_scaling``; raises ValueError for unknown kinds.

    base and fraction are those where the file gives no others.
    """
    newer_values = take(keys, "rope_parameters", dict, {})
    older_values = take(keys, "rope_scaling", dict, {})
    values = {name: value for name, value in (older_values or newer_values).items() if value is not None}
    kind_by_older_name = take(values, "type", str, "default")
    kind = take(values, "rope_type", str, kind_by_older_name)
    if kind not in ROTARY_KINDS:
        kinds = ", ".join(ROTARY_KINDS)
        raise ValueError(f"config.json: rotary positions of kind {kind!r} are not supported; {kinds} are")
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
    """YaRN's attention factor: as the file gives it, or as the ratio of two magnitude scales; None without either."""
    scale = take(values, "attention_factor", float, None)
    magnitudes = [take(values, name, float, 0.0) for name in ("mscale", "mscale_all_dim")]
    if scale is not None or not all(magnitudes):
        return scale
    numerator, denominator = (0.1 * m * math.log(max(factor, 1.0)) + 1.0 for m in magnitudes)
    return numerator / denominator


def gpt2_config(keys):
    """TransformerConfig fields by the keys of a GPT-2."""
    d_model = take(keys, "n_embd", int)
    return {
        "context_length": take(keys, "n_positions", int, 1024),
        "num_layers": take(keys, "n_layer", int),
        "num_heads": take(keys, "n_head", int),
        "d_model": d_model,
        "d_mlp": take(keys, "n_inner", int, 4 * d_model),
        "positions": "learned",
        "norm": "layernorm",
        "norm_epsilon": take(keys, "layer_norm_epsilon", float, 1e-5),
        "mlp": take_mlp_kind(keys, "activation_function", "gelu_new"),
        "bias": True,
        "tied_unembedding": take(keys, "tie_word_embeddings", bool, True),
    }


def gpt_neox_config(keys):
    """TransformerConfig fields by the keys of a GPT-NeoX or Pythia."""
    context_length = take(keys, "max_position_embeddings", int, 2048)
    rotary = take_rotary(
        keys,
        context_length,
        take(keys, "rotary_emb_base", float, 10000.0),
        take(keys, "rotary_pct", float, 0.25),
    )
    # Some versions of the reference write these beside rotary_emb_base and rotary_pct, and none reads them.
    refuse(keys, "rope_theta", rotary.base)
    refuse(keys, "partial_rotary_factor", rotary.fraction)
    attention_bias = take(keys, "attention_bias", bool, True)
    return {
        "context_length": context_length,
        "num_layers": take(keys, "num_hidden_layers", int),
        "num_heads": take(keys, "num_attention_heads", int),
        "d_model": take(keys, "hidden_size", int),
        "d_mlp": take(keys, "intermediate_size", int),
        "positions": "rotary",
        "rotary": rotary,
        "norm": "layernorm",
        "norm_epsilon": take(keys, "layer_norm_eps", float, 1e-5),
        "mlp": take_mlp_kind(keys, "hidden_act", "gelu"),
        "parallel_residual": take(keys, "use_parallel_residual", bool, True),
        "bias": True,
        "query_key_value_bias": attention_bias,
        "attention_output_bias": attention_bias,
        "tied_unembedding": take(keys, "tie_word_embeddings", bool, False),
    }


def llama_config(keys):
    """TransformerConfig fields by the keys of a Llama 1, 2 or 3."""
    attention_bias = take(keys, "attention_bias", bool, False)
    mlp_bias = take(keys, "mlp_bias", bool, False)
    refuse(keys, "sliding_window")
    return llama_and_qwen2_config(keys, 2048) | {
        "query_key_value_bias": attention_bias,
        "attention_output_bias": attention_bias,
        "mlp_bias": mlp_bias,
    }


def qwen2_config(keys):
    """TransformerConfig fields by the keys of a Qwen2 or Qwen2.5."""
    refuse(keys, "use_sliding_window", False)
    for name in ("sliding_window", "max_window_layers"):  # they matter only with use_sliding_window
        keys.pop(name, None)
    return llama_and_qwen2_config(keys, 32768) | {
        "query_key_value_bias": True,
        "attention_output_bias": False,
        "mlp_bias": False,
    }


def llama_and_qwen2_config(keys, context_length):
    """TransformerConfig fields by the keys that Llama and Qwen2 share; context_length is the default of theirs."""
    context_length = take(keys, "max_position_embeddings", int, context_length)
    num_layers = take(keys, "num_hidden_layers", int)
    num_heads = take(keys, "num_attention_heads", int)
    refuse(keys, "hidden_act", "silu", "swish")
    refuse(keys, "partial_rotary_factor", 1.0)
    for kind in take(keys, "layer_types", list, []):
        refuse({"layer_types": kind}, "layer_types", "full_attention")
    rotary = take_rotary(keys, context_length, take(keys, "rope_theta", float, 10000.0))
    if rotary.fraction != 1:
        raise ValueError("config.json: partial_rotary_factor other than 1 is not supported for this model_type")
    return {
        "context_length": context_length,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_key_value_heads": take(keys, "num_key_value_heads", int, num_heads),
        "d_model": take(keys, "hidden_size", int),
        "head_width": take(keys, "head_dim", int, None),
        "d_mlp": take(keys, "intermediate_size", int),
        "positions": "rotary",
        "rotary": rotary,
        "norm": "rmsnorm",
        "norm_epsilon": take(keys, "rms_norm_eps", float, 1e-6),
        "mlp": "swiglu",
        "bias": False,
        "tied_unembedding": take(keys, "tie_word_embeddings", bool, False),
    }


def assay_config(keys):
    """TransformerConfig fields by the key ``transformer``, which holds them all under their own names."""
    settings = take(keys, "transformer", dict)
    rotary = take(settings, "rotary", dict, {})
    for values, settings_class in ((settings, TransformerConfig), (rotary, Rotary)):
        if unknown := sorted(set(values) - {field.name for field in fields(settings_class)}):
            raise ValueError(f"config.json: transformer setting {unknown[0]} is not known")
    try:
        return settings | {"rotary": Rotary(**rotary)}
    except TypeError as error:
        raise ValueError(f"config.json: {error}") from None


def read_config(keys):
    """(family's name, TransformerConfig) by the keys of a config.json.

    Every key is mapped, or has a value that changes nothing, or is known not to matter for the logits. Raises
    ValueError with the key's name otherwise, and for a model_type that is not among FAMILIES. Null means absent.
    """
    keys = {name: value for name, value in keys.items() if value is not None}
    name = take(keys, "model_type", str)
    if name not in FAMILIES:
        raise ValueError(f"config.json: model_type={name!r} is not supported; {', '.join(FAMILIES)} are")
    for key, neutral in NEUTRAL_VALUES.items():
        refuse(keys, key, *neutral)
    settings = FAMILIES[name](keys)
    if name != "assay":
        settings["vocab_size"] = take(keys, "vocab_size", int)
    if unknown := sorted(set(keys) - HARMLESS_KEYS):
        values = ", ".join(f"{key}={keys[key]!r}" for key in unknown)
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
