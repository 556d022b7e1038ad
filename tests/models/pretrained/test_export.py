"""Models of ours as folders of other families: read back they compute the same, and so they do in the reference."""

import functools
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from random_models import compute_logits, random_params

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.pretrained.export import export
from models.pretrained.folder import describe, load
from models.rotary import Rotary
from models.transformer import Transformer, TransformerConfig, scanned
from probes.attention_scores import repeated_tokens, stripe_scores

BASE = TransformerConfig(vocab_size=50, context_length=20, num_layers=2, num_heads=4, d_model=32)
NORMED = replace(BASE, norm="layernorm", bias=True)
ROTARY = replace(BASE, positions="rotary")
SWIGLU = replace(ROTARY, norm="rmsnorm", mlp="swiglu", d_mlp=40, num_key_value_heads=2)
LLAMA3 = Rotary(kind="llama3", factor=4.0, original_context_length=16)
YARN = Rotary(kind="yarn", factor=4.0, original_context_length=16, slow_turns=0.5, attention_scale=1.2)
# Models that a family has as they are; that need parts which do nothing; norms that are identities; a mirrored stream.
CASES = {
    "gpt2": ("gpt2", replace(NORMED, d_mlp=64)),
    "gpt2_without_biases": ("gpt2", replace(NORMED, bias=False, d_mlp=64, mlp="gelu_exact", tied_unembedding=True)),
    "gpt2_attention_only": ("gpt2", replace(NORMED, positions="none")),
    "gpt2_sinusoidal": ("gpt2", replace(NORMED, positions="sinusoidal", mlp="relu", d_mlp=16)),
    "gpt2_mirrored": ("gpt2", BASE),
    "gpt2_mirrored_all": ("gpt2", replace(BASE, d_mlp=64, bias=True, tied_unembedding=True, head_width=6, num_heads=3)),
    "gpt_neox": ("gpt_neox", replace(ROTARY, norm="layernorm", d_mlp=40, parallel_residual=True)),
    "gpt_neox_partial": ("gpt_neox", replace(NORMED, positions="rotary", rotary=Rotary(fraction=0.5))),
    "llama": ("llama", replace(SWIGLU, bias=True, rotary=LLAMA3)),
    "llama_identity": ("llama", ROTARY),
    "qwen2": ("qwen2", replace(SWIGLU, head_width=12, query_key_value_bias=True, tied_unembedding=True, rotary=YARN)),
    "qwen2_identity": ("qwen2", replace(ROTARY, rotary=Rotary(kind="linear", factor=2.0))),
    "assay": ("assay", replace(NORMED, positions="alibi", d_mlp=32, num_key_value_heads=2, parallel_residual=True)),
}
EXACT = ("gpt2", "assay", "qwen2")  # read back, these are the same model
TOKENS_BT = np.random.default_rng(0).integers(0, 50, (2, 20))


def settings(config):
    """Fields of a config and which biases there are, however they are said."""
    biases = {part: config.has_bias(part) for part in ("query_key_value", "attention_output", "mlp")}
    return {name: value for name, value in vars(config).items() if not name.endswith("_bias")} | biases


def logits_of(module, params):
    return np.asarray(compute_logits(module, {"params": params}, TOKENS_BT))


@functools.cache
def params_and_logits(config):
    # Without norms, an MLP makes logits large, and so the differences by rounding.
    params = random_params(config, gain=1.0 if config.norm == "none" and config.d_mlp else 1.6)
    return params, logits_of(Transformer(config), params)


@pytest.mark.parametrize("name", EXACT)
def test_read_back_it_is_the_same_model(tmp_path, name):
    family, config = CASES[name]
    params = random_params(config)
    export(tmp_path, config, params, family, first_token=3)
    assert describe(tmp_path).family == family
    assert describe(tmp_path).first_token == 3
    module, variables = load(tmp_path)
    assert settings(module.config) == settings(config)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], params)


@pytest.mark.parametrize("name", [name for name in CASES if name not in EXACT])
def test_read_back_it_computes_the_same(tmp_path, name):
    family, config = CASES[name]
    params, logits_BTV = params_and_logits(config)
    assert logits_BTV.std() > 0.5
    export(tmp_path, config, params, family)
    assert describe(tmp_path).family == family
    module, variables = load(tmp_path)
    np.testing.assert_allclose(logits_of(module, variables["params"]), logits_BTV, atol=1e-4, rtol=0)


def test_scanned_layers_are_written_one_by_one(tmp_path):
    params = random_params(BASE)
    repeated, stacked = scanned(Transformer(BASE), params)
    export(tmp_path, repeated.config, stacked, "assay")
    module, variables = load(tmp_path)
    assert not module.config.scan_layers
    jax.tree.map(np.testing.assert_array_equal, variables["params"], params)


@pytest.mark.parametrize("family", ["gpt2", "assay"])
def test_the_hand_wired_head_is_found_again(tmp_path, family):
    config = induction_config(21, 41)
    params = jax.jit(induction_params, static_argnums=0)(config)
    export(tmp_path, config, params, family, first_token=20)
    module, variables = load(tmp_path)
    assert describe(tmp_path).first_token == 20
    tokens_BT = repeated_tokens(jax.random.key(0), 2, 20, 2, 20, 20)
    scores = stripe_scores(module, variables, tokens_BT, 20)
    assert scores["previous_token_score"][0, 0] > 0.99
    assert scores["induction_score"][1, 0] > 0.99
    assert scores["induction_score"][0, 0] < 0.01


def test_reference_folders_survive_the_way_there_and_back(tmp_path, reference_folder, reference_model):
    module, variables = reference_model
    export(tmp_path, module.config, variables["params"], describe(reference_folder).family)
    module_again, variables_again = load(tmp_path)
    assert module_again.config == module.config
    jax.tree.map(np.testing.assert_array_equal, variables_again, variables)


@pytest.mark.parametrize(
    ("family", "config", "name"),
    [
        ("gpt2", replace(BASE, causal=False), "causal=False"),
        ("gpt2", ROTARY, "positions='rotary'"),
        ("gpt2", replace(BASE, positions="alibi"), "positions='alibi'"),
        ("gpt2", replace(BASE, norm="rmsnorm"), "norm='rmsnorm'"),
        ("gpt2", replace(BASE, num_key_value_heads=2), "num_key_value_heads=2"),
        ("gpt2", replace(NORMED, head_width=12), "head_width=12"),
        ("gpt2", replace(NORMED, d_mlp=8, parallel_residual=True), "parallel_residual=True"),
        ("gpt2", replace(NORMED, d_mlp=8, mlp="swiglu"), "mlp='swiglu'"),
        ("gpt_neox", NORMED, "positions='learned'"),
        ("gpt_neox", ROTARY, "norm='none'"),
        ("llama", BASE, "positions='learned'"),
        ("llama", replace(ROTARY, norm="layernorm"), "norm='layernorm'"),
        ("llama", replace(ROTARY, d_mlp=8), "mlp='gelu'"),
        ("llama", replace(ROTARY, rotary=Rotary(fraction=0.5)), "rotary="),
        ("llama", replace(ROTARY, num_heads=5, head_width=4), "num_heads=5"),
        ("qwen2", replace(SWIGLU, mlp_bias=True), "mlp_bias="),
        ("qwen2", replace(SWIGLU, attention_output_bias=True), "attention_output_bias="),
    ],
)
def test_what_a_family_cannot_express_is_refused(tmp_path, family, config, name):
    with pytest.raises(ValueError, match=f"no model of family '{family}' computes the same as one with {name}"):
        export(tmp_path / "new", config, random_params(config), family)
    assert not (tmp_path / "new").exists()


def test_mistakes_are_refused(tmp_path):
    params = random_params(BASE)
    with pytest.raises(ValueError, match="family='bert' is not one of gpt2, gpt_neox, llama, qwen2, assay"):
        export(tmp_path, BASE, params, "bert")
    with pytest.raises(ValueError, match="the parameters lack positions"):
        export(tmp_path, BASE, {name: x for name, x in params.items() if name != "positions"}, "assay")
    with pytest.raises(ValueError, match="the parameters have extra"):
        export(tmp_path, BASE, params | {"extra": np.ones(3)}, "assay")
    with pytest.raises(ValueError, match=r"parameter embed has shape \(49, 32\)"):
        export(tmp_path, BASE, params | {"embed": params["embed"][1:]}, "assay")
    export(tmp_path, BASE, params, "assay")
    with pytest.raises(ValueError, match=r"config.json exists already: choose another folder"):
        export(tmp_path, BASE, params, "assay")


def test_our_own_configs_are_checked_too(tmp_path):
    export(tmp_path, BASE, random_params(BASE), "assay")
    path = tmp_path / "config.json"
    keys = json.loads(path.read_text())
    for change, message in (
        ({"mixture_of_experts": 8}, "transformer setting mixture_of_experts is not known"),
        ({"num_layers": "2"}, "config.json"),
        ({"norm": "batch"}, "norm='batch' is not one of"),
        ({"rotary": {"kind": "spiral"}}, "'spiral' is not one of"),
        ({"rotary": {"spiral": 1}}, "transformer setting spiral is not known"),
        ({"d_model": 64}, "tensor embed has shape"),
    ):
        path.write_text(json.dumps(keys | {"transformer": keys["transformer"] | change}))
        with pytest.raises(ValueError, match=message):
            load(tmp_path)


def reference_logits(folder, tokens_BT):
    """The reference library's logits of a folder; nothing in it may be missing or unexpected."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        return model.eval()(torch.tensor(np.array(tokens_BT))).logits.numpy()


@pytest.mark.parametrize("name", [name for name in CASES if name != "assay"])
def test_the_reference_computes_the_same(tmp_path, name):
    pytest.importorskip("transformers")
    family, config = CASES[name]
    params, logits_BTV = params_and_logits(config)
    export(tmp_path, config, params, family)
    np.testing.assert_allclose(reference_logits(tmp_path, TOKENS_BT), logits_BTV, atol=1e-4, rtol=0)


def test_the_reference_completes_with_the_hand_wired_head(tmp_path):
    pytest.importorskip("transformers")
    config = induction_config(21, 41)
    params = jax.jit(induction_params, static_argnums=0)(config)
    export(tmp_path, config, params, "gpt2")
    tokens_BT = np.asarray(repeated_tokens(jax.random.key(0), 2, 20, 2, 20, 20))
    logits_BTV = reference_logits(tmp_path, tokens_BT)
    expected_BTV = compute_logits(Transformer(config), {"params": params}, tokens_BT)
    np.testing.assert_allclose(logits_BTV, expected_BTV, atol=1e-4)
    np.testing.assert_array_equal(logits_BTV[:, 21:-1].argmax(-1), tokens_BT[:, 22:])
