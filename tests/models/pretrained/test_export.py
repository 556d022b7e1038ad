"""Models of ours as folders of other families: read back they compute the same, and so they do in the reference."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.pretrained.export import export
from models.pretrained.folder import describe, load
from models.rotary import Rotary
from models.transformer import Transformer, TransformerConfig, scanned
from probes.attention_scores import repeated_tokens, stripe_scores
from tests.models.pretrained.test_folder import FOLDERS, NAMES, VARIANTS

BASE = TransformerConfig(vocab_size=50, context_length=20, num_layers=2, num_heads=4, d_model=32)
NORMED = replace(BASE, norm="layernorm", bias=True)
ROTARY = replace(BASE, positions="rotary")
SWIGLU = replace(ROTARY, norm="rmsnorm", mlp="swiglu", d_mlp=40, num_key_value_heads=2)
LLAMA3 = Rotary(kind="llama3", factor=4.0, original_context_length=16)
YARN = Rotary(kind="yarn", factor=4.0, original_context_length=16, slow_turns=0.5, attention_scale=1.2)
# As they are, with parts that do nothing, with the norms' identity, with a stream written twice.
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
QUICK = ("gpt2_mirrored_all", "llama", "assay")
EXACT = ("gpt2", "assay", "qwen2")  # read back they are the same model
TOKENS_BT = np.random.default_rng(0).integers(0, 50, (2, 20))


def random_params(config):
    """Parameters far from any initial ones: no bias is 0 and no scale 1."""
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0), TOKENS_BT)["params"]
    rng = np.random.default_rng(1)

    gain = 1.5 if config.norm != "none" else 1.0

    def draw(keys, x):
        spread = 0.3 if x.ndim == 1 or keys[-1].key == "bias" else gain * x.shape[0] ** -0.5
        return (rng.standard_normal(x.shape) * spread + (keys[-1].key == "scale")).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def settings(config):
    """Fields of a config and which biases there are, however they are said."""
    biases = {part: config.has_bias(part) for part in ("query_key_value", "attention_output", "mlp")}
    return {name: value for name, value in vars(config).items() if not name.endswith("_bias")} | biases


def logits(module, variables):
    return np.asarray(jax.jit(module.apply)(variables, TOKENS_BT))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_read_back_it_computes_the_same(tmp_path, name):
    family, config = CASES[name]
    params = random_params(config)
    export(tmp_path, config, params, family, first_token=3)
    assert describe(tmp_path).family == family
    assert describe(tmp_path).first_token == 3
    module, variables = load(tmp_path)
    if name in EXACT:
        assert settings(module.config) == settings(config)
        jax.tree.map(np.testing.assert_array_equal, variables["params"], params)
        return
    before = logits(Transformer(config), {"params": params})
    assert before.std() > 0.5
    np.testing.assert_allclose(logits(module, variables), before, atol=1e-4, rtol=0)


def test_scanned_layers_are_written_one_by_one(tmp_path):
    params = random_params(BASE)
    module, stacked = scanned(Transformer(BASE), params)
    export(tmp_path, module.config, stacked, "assay")
    module, variables = load(tmp_path)
    assert not module.config.scan_layers
    jax.tree.map(np.testing.assert_array_equal, variables["params"], params)


@pytest.mark.parametrize("family", ["gpt2", pytest.param("assay", marks=pytest.mark.slow)])
def test_the_hand_wired_head_is_found_again(tmp_path, family):
    config = induction_config(21, 41)
    export(tmp_path, config, induction_params(config), family, first_token=20)
    module, variables = load(tmp_path)
    tokens_BT = repeated_tokens(jax.random.key(0), 2, 20, 2, 20, describe(tmp_path).first_token)
    scores = stripe_scores(module, variables, tokens_BT, 20)
    assert scores["previous_token_score"][0, 0] > 0.99
    assert scores["induction_score"][1, 0] > 0.99
    assert scores["induction_score"][0, 0] < 0.01


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_pretrained_folders_survive_the_way_there_and_back(tmp_path, name):
    module, variables = load(FOLDERS / name)
    export(tmp_path, module.config, variables["params"], describe(FOLDERS / name).family)
    again, found = load(tmp_path)
    assert again.config == module.config
    jax.tree.map(np.testing.assert_array_equal, found, variables)


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
        export(tmp_path, BASE, params | {"extra": jnp.ones(3)}, "assay")
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


def in_the_reference(folder, tokens_BT):
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
    params = random_params(config)
    export(tmp_path, config, params, family)
    before = logits(Transformer(config), {"params": params})
    after = in_the_reference(tmp_path, TOKENS_BT)
    print(f"{name}: {np.abs(after - before).max():.1e} of {before.std():.1f}")
    np.testing.assert_allclose(after, before, atol=1e-4, rtol=0)


def test_the_reference_completes_with_the_hand_wired_head(tmp_path):
    pytest.importorskip("transformers")
    config = induction_config(21, 41)
    params = induction_params(config)
    export(tmp_path, config, params, "gpt2")
    tokens_BT = repeated_tokens(jax.random.key(0), 2, 20, 2, 20, 20)
    after = in_the_reference(tmp_path, tokens_BT)
    np.testing.assert_allclose(after, Transformer(config).apply({"params": params}, tokens_BT), atol=1e-4)
    np.testing.assert_array_equal(after[:, 21:-1].argmax(-1), tokens_BT[:, 22:])
