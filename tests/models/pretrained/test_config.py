"""config.json: known models are understood, and every setting that would change the numbers is refused."""

import json
from pathlib import Path

import pytest

from models.pretrained.folder import describe
from models.rotary import Rotary
from models.transformer import TransformerConfig

PUBLISHED = Path(__file__).parents[2] / "fixtures" / "published_configs"


def test_configs_are_mapped(reference_folders):
    llama = describe(reference_folders / "llama")
    assert llama.family == "llama"
    assert (llama.first_token, llama.last_tokens) == (0, ())
    c = llama.config
    assert (c.num_heads, c.num_key_value_heads, c.head_width, c.d_model, c.d_mlp) == (4, 2, 16, 32, 48)
    assert c.rotary == Rotary(base=500000.0, kind="llama3", factor=8.0, original_context_length=32)
    assert (c.norm, c.mlp, c.tied_unembedding, c.has_bias("mlp")) == ("rmsnorm", "swiglu", False, False)
    older = describe(reference_folders / "llama_older").config
    assert (older.rotary.kind, older.has_bias("attention_output"), older.has_bias("mlp")) == ("linear", True, True)
    neox = describe(reference_folders / "gpt_neox", dtype="bfloat16", attention="explicit").config
    assert (neox.rotary.fraction, neox.parallel_residual, neox.mlp) == (0.5, True, "gelu_exact")
    assert (neox.dtype, neox.attention) == ("bfloat16", "explicit")


@pytest.fixture
def describe_published(tmp_path):
    """(family, change=None) -> the Description by a published config.json of that family, with some keys changed.

    The models are GPT-2 small, Pythia-70m, Llama-3.2-1B and Qwen2.5-0.5B.
    """

    def describe_changed(family, change=None):
        keys = json.loads((PUBLISHED / f"{family}.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(keys | (change or {})))
        return describe(tmp_path)

    return describe_changed


def test_configs_of_known_models_are_understood(describe_published):
    assert describe_published("gpt2").config == TransformerConfig(
        vocab_size=50257,
        context_length=1024,
        num_layers=12,
        num_heads=12,
        d_model=768,
        d_mlp=3072,
        norm="layernorm",
        norm_epsilon=1e-5,
        mlp="gelu",
        bias=True,
        tied_unembedding=True,
    )
    assert describe_published("gpt_neox").config.rotary == Rotary(fraction=0.25)
    llama = describe_published("llama")
    assert llama.last_tokens == (128001, 128008, 128009)
    assert llama.config.rotary == Rotary(500000.0, kind="llama3", factor=32.0, original_context_length=8192)
    assert describe_published("qwen2").config.rotary == Rotary(1000000.0)


REFUSED = [
    ("gpt2", {"model_type": "mamba"}, "model_type='mamba' is not supported; gpt2, gpt_neox, llama, qwen2, assay are"),
    ("gpt2", {"model_type": None}, "lacks model_type"),
    ("gpt2", {"n_layer": None}, "lacks n_layer"),
    ("gpt2", {"n_layer": "12"}, "n_layer='12' must be a positive whole number"),
    ("gpt2", {"n_head": True}, "n_head=True must be a positive whole number"),
    ("gpt2", {"n_embd": -768}, "n_embd=-768"),
    ("gpt2", {"n_head": 13}, "d_model=768 is not divisible by num_heads=13"),
    ("gpt2", {"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon=nan must be a finite number"),
    ("gpt2", {"activation_function": "quick_gelu"}, "activation_function='quick_gelu' is not supported; gelu_new"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True would change"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights=False would change"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True would change"),
    ("gpt2", {"is_encoder_decoder": True}, "is_encoder_decoder=True would change"),
    ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config="),
    ("gpt2", {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "auto_map="),
    ("gpt2", {"shiny_new_option": 3}, "shiny_new_option=3 is not known for model_type='gpt2' and may change"),
    ("gpt2", {"rope_theta": 1e4}, "rope_theta=10000.0 is not known"),
    ("gpt_neox", {"hidden_act": "silu"}, "hidden_act='silu' is not supported"),
    ("gpt_neox", {"rotary_pct": 0.05}, "of head width 64 gives 3, which is not a positive even number"),
    ("gpt_neox", {"rope_theta": 5000}, "rope_theta=5000 would change"),
    ("gpt_neox", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "kind 'dynamic' are not supported; default, li"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu' would change"),
    ("llama", {"sliding_window": 4096}, "sliding_window=4096 would change"),
    ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0 is not known"),
    ("llama", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "kind 'longrope' are not supported"),
    ("llama", {"rope_scaling": {"rope_type": "linear"}}, "lacks factor"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 3}}, "beta_fast=3 is not supported"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor=0.0 must be positive"),
    ("llama", {"rope_scaling": "linear"}, "rope_scaling='linear' must be an object"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 would change"),
    ("llama", {"num_key_value_heads": 5}, "num_heads=32 is not divisible by num_key_value_heads=5"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window=True would change"),
    ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types='sliding_attention' would change"),
    ("qwen2", {"attention_bias": True}, "attention_bias=True is not known"),
]


@pytest.mark.parametrize(("family", "change", "message"), REFUSED, ids=[str(case[1])[:60] for case in REFUSED])
def test_configs_that_would_change_the_numbers_are_refused(describe_published, tmp_path, family, change, message):
    with pytest.raises(ValueError, match=message) as error:
        describe_published(family, change)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_null_means_absent(describe_published):
    nulls = {"sliding_window": None, "attn_logit_softcapping": None, "quantization_config": None, "head_dim": None}
    assert describe_published("llama", nulls).config.width_of_heads == 64


def test_configs_that_are_no_configs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a folder"):
        describe(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"config.json is missing"):
        describe(tmp_path)
    for text in ("", "{", "[1]", '{"model_type": "gpt2", "model_type": "gpt2"}', "[" * 100_000, b"\xff\xfe{}"):
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=r"not valid JSON|not a JSON object"):
            describe(tmp_path)
