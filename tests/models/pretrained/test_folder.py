"""Pretrained folders: what the reference library computed from them, and every way in which they can be wrong.

The fixtures' reference.npz was written by tests/fixtures/make_hf.py with the reference library.
"""

import json
import pickle
import shutil
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from models.pretrained import safetensors as safetensors_files
from models.pretrained.export import export
from models.pretrained.folder import describe, load
from models.pretrained.text import left_padded, load_tokenizer
from models.rotary import Rotary
from models.sampling import generate
from models.transformer import Transformer, TransformerConfig, decoder

FOLDERS = Path(__file__).parents[2] / "fixtures" / "hf"
NAMES = ("gpt2", "gpt_neox", "llama", "qwen2")
VARIANTS = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt_neox_sequential", "llama_older"))


def prompts(reference):
    return [row[visible] for row, visible in zip(reference["padded_BT"], reference["visible_BT"], strict=True)]


@pytest.mark.parametrize("name", NAMES + VARIANTS)
def test_logits_are_the_references(name):
    reference = np.load(FOLDERS / name / "reference.npz")
    module, variables = load(FOLDERS / name)
    # One batch: a whole sequence, and prompts padded on the left to its length.
    tokens_BT, positions_BT, visible_BT = left_padded([reference["tokens_BT"][0], *prompts(reference)], 96)
    logits_BTV = jax.jit(module.apply)(variables, tokens_BT, positions_BT=positions_BT, visible_BK=visible_BT)
    np.testing.assert_allclose(logits_BTV[:1], reference["logits_BTV"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(logits_BTV[1:, -1], reference["last_logits_BV"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name", ["gpt2", "qwen2", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gpt_neox", "llama")), *VARIANTS]
)
def test_greedy_generation_is_the_references(name):
    reference = np.load(FOLDERS / name / "reference.npz")
    module, variables = load(FOLDERS / name, context_length=24)
    tokens_BT, _, visible_BT = left_padded(prompts(reference), 24, num_new_tokens=12)
    options = {"visible_BT": jnp.array(visible_BT), "temperature": 0.0}
    found = generate(decoder(module), variables, jax.random.key(0), tokens_BT, 12, **options)
    np.testing.assert_array_equal(found, reference["greedy_BT"])


@pytest.mark.parametrize("name", NAMES + VARIANTS)
def test_parameters_are_those_of_the_module(name):
    module, variables = load(FOLDERS / name, place=lambda path, array: array)
    made = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(lambda x: (x.shape, x.dtype), made)


def test_configs_are_mapped():
    llama = describe(FOLDERS / "llama")
    assert llama.family == "llama"
    assert (llama.first_token, llama.last_tokens) == (0, ())
    c = llama.config
    assert (c.num_heads, c.num_key_value_heads, c.head_width, c.d_model, c.d_mlp) == (4, 2, 16, 32, 48)
    assert c.rotary == Rotary(base=500000.0, kind="llama3", factor=8.0, original_context_length=32)
    assert (c.norm, c.mlp, c.tied_unembedding, c.has_bias("mlp")) == ("rmsnorm", "swiglu", False, False)
    older = describe(FOLDERS / "llama_older").config
    assert (older.rotary.kind, older.has_bias("attention_output"), older.has_bias("mlp")) == ("linear", True, True)
    neox = describe(FOLDERS / "gpt_neox", dtype="bfloat16", attention="explicit").config
    assert (neox.rotary.fraction, neox.parallel_residual, neox.mlp) == (0.5, True, "gelu_exact")
    assert (neox.dtype, neox.attention) == ("bfloat16", "explicit")


# Published shapes, as their config.json files have them.
PYTHIA_70M = {
    "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
    "hidden_size": 512, "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6,
    "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16",
    "transformers_version": "4.24.0", "use_cache": True, "use_parallel_residual": True, "vocab_size": 50304,
}  # fmt: skip
LLAMA_3_2_1B = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
    "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
    "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
    "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.45.0", "use_cache": True,
    "vocab_size": 128256,
}  # fmt: skip
QWEN_2_5 = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 14,
    "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.43.1",
    "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
GPT2_SMALL = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 50256,
    "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
    "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True, "vocab_size": 50257,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}  # fmt: skip
PUBLISHED = {"gpt2": GPT2_SMALL, "gpt_neox": PYTHIA_70M, "llama": LLAMA_3_2_1B, "qwen2": QWEN_2_5}


def described(tmp_path, keys):
    (tmp_path / "config.json").write_text(json.dumps(keys))
    return describe(tmp_path)


def test_configs_of_known_models_are_understood(tmp_path):
    assert described(tmp_path, GPT2_SMALL).config == TransformerConfig(
        vocab_size=50257, context_length=1024, num_layers=12, num_heads=12, d_model=768, d_mlp=3072, norm="layernorm",
        norm_epsilon=1e-5, mlp="gelu", bias=True, tied_unembedding=True,
    )  # fmt: skip
    assert described(tmp_path, PYTHIA_70M).config.rotary == Rotary(fraction=0.25)
    llama = described(tmp_path, LLAMA_3_2_1B)
    assert llama.last_tokens == (128001, 128008, 128009)
    assert llama.config.rotary == Rotary(500000.0, kind="llama3", factor=32.0, original_context_length=8192)
    assert described(tmp_path, QWEN_2_5).config.rotary == Rotary(1000000.0)


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
def test_configs_that_would_change_the_numbers_are_refused(tmp_path, family, change, message):
    with pytest.raises(ValueError, match=message) as error:
        described(tmp_path, PUBLISHED[family] | change)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_null_means_absent(tmp_path):
    nulls = {"sliding_window": None, "attn_logit_softcapping": None, "quantization_config": None, "head_dim": None}
    assert described(tmp_path, LLAMA_3_2_1B | nulls).config.width_of_heads == 64


def test_configs_that_are_no_configs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a folder"):
        describe(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"config.json is missing"):
        describe(tmp_path)
    for text in ("", "{", "[1]", '{"model_type": "gpt2", "model_type": "gpt2"}', "[" * 100_000, b"\xff\xfe{}"):
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=r"not valid JSON|not a JSON object"):
            describe(tmp_path)


def test_settings_of_load(tmp_path):
    module, variables = load(FOLDERS / "gpt2", context_length=16, dtype="bfloat16", parameter_dtype="bfloat16")
    assert module.config.dtype == "bfloat16"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"bfloat16"}
    assert variables["params"]["positions"].shape == (16, 32)
    with pytest.raises(ValueError, match="17 tokens do not fit context_length=16"):
        module.apply(variables, jnp.zeros((1, 17), jnp.int32))
    with pytest.raises(ValueError, match="context_length=97 exceeds its 96"):
        describe(FOLDERS / "gpt2", context_length=97)
    with pytest.raises(ValueError, match="d_model is not a setting of a pretrained model; dtype"):
        describe(FOLDERS / "gpt2", d_model=64)


def test_arrays_go_straight_onto_a_mesh():
    mesh = jax.make_mesh((4,), ("model",), devices=jax.devices()[:4])
    paths = []

    def place(path, array):
        paths.append(path)
        split = PartitionSpec(None, "model") if path.endswith(("query/kernel", "key/kernel")) else PartitionSpec()
        return jax.device_put(array, NamedSharding(mesh, split))

    variables = load(FOLDERS / "gpt2", place=place)[1]
    query = variables["params"]["layer_1"]["attention"]["query"]["kernel"]
    assert query.addressable_shards[0].data.shape == (32, 1, 8)
    here = load(FOLDERS / "gpt2")[1]
    jax.tree.map(np.testing.assert_array_equal, variables, here)
    assert len(paths) == len(set(paths)) == len(jax.tree.leaves(variables))


def test_memory_stays_near_one_array(tmp_path):
    config = TransformerConfig(vocab_size=64, context_length=64, num_layers=12, d_model=64, norm="layernorm", d_mlp=256)
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    export(tmp_path, config, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), "gpt2")
    sizes = []
    tracemalloc.start()
    load(tmp_path, place=lambda path, array: sizes.append(array.nbytes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    largest = 4 * 64 * 256
    assert sum(sizes) > 30 * largest
    assert peak < 5 * largest + 500_000  # the tables of names beside it


# Files. A tiny GPT-2 is written anew with one thing wrong.
TINY = {"model_type": "gpt2", "vocab_size": 5, "n_positions": 4, "n_embd": 4, "n_layer": 1, "n_head": 2, "n_inner": 3}
SHAPES = {
    "wte.weight": (5, 4), "wpe.weight": (4, 4), "h.0.ln_1.weight": (4,), "h.0.ln_1.bias": (4,),
    "h.0.attn.c_attn.weight": (4, 12), "h.0.attn.c_attn.bias": (12,), "h.0.attn.c_proj.weight": (4, 4),
    "h.0.attn.c_proj.bias": (4,), "h.0.ln_2.weight": (4,), "h.0.ln_2.bias": (4,), "h.0.mlp.c_fc.weight": (4, 3),
    "h.0.mlp.c_fc.bias": (3,), "h.0.mlp.c_proj.weight": (3, 4), "h.0.mlp.c_proj.bias": (4,), "ln_f.weight": (4,),
    "ln_f.bias": (4,),
}  # fmt: skip
TENSORS = {f"transformer.{name}": np.random.default_rng(0).random(shape, np.float32) for name, shape in SHAPES.items()}


def write_tiny(folder, tensors=TENSORS, **keys):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY | keys))
    listed = [(name, x.dtype, x.shape, lambda x=x: x) for name, x in tensors.items()]
    safetensors_files.write(folder / "model.safetensors", listed)
    return folder


def refusal(folder):
    with pytest.raises(ValueError, match=r".") as error:
        load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_with_and_without_the_prefix_and_buffers_are_understood(tmp_path):
    bare = {name.removeprefix("transformer."): x for name, x in TENSORS.items()}
    mask = {"h.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8), "h.0.attn.masked_bias": np.float32(-1e4)}
    copy = {"lm_head.weight": TENSORS["transformer.wte.weight"]}
    want = load(write_tiny(tmp_path / "a"))[1]
    for i, tensors in enumerate((bare, bare | mask, TENSORS | copy)):
        found = load(write_tiny(tmp_path / str(i), tensors))[1]
        jax.tree.map(np.testing.assert_array_equal, found, want)
    only_copy = {name: x for name, x in (TENSORS | copy).items() if "wte" not in name}
    found = load(write_tiny(tmp_path / "only_copy", only_copy))[1]
    jax.tree.map(np.testing.assert_array_equal, found, want)


def test_both_names_of_an_unembedding_are_understood(tmp_path):
    folder = tmp_path / "gpt_neox"
    shutil.copytree(FOLDERS / "gpt_neox", folder)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"embed_out.weight"', b'"lm_head.weight"  '))
    assert file.read_bytes() != whole
    jax.tree.map(np.testing.assert_array_equal, load(folder)[1], load(FOLDERS / "gpt_neox")[1])


def test_wrong_arrays_are_named(tmp_path):
    def without(name):
        return {key: x for key, x in TENSORS.items() if key != name}

    name = "transformer.h.0.attn.c_attn.weight"
    assert "lacks tensor h.0.attn.c_attn.weight, which" in refusal(write_tiny(tmp_path, without(name)))
    extra = TENSORS | {"transformer.h.0.attn.q_norm.weight": np.ones(2, np.float32)}
    assert "holds tensor transformer.h.0.attn.q_norm.weight, which the model" in refusal(write_tiny(tmp_path, extra))
    turned = TENSORS | {name: TENSORS[name].T}
    assert f"{name} has shape [12, 4]; config.json implies [4, 12]" in refusal(write_tiny(tmp_path, turned))
    whole = TENSORS | {name: TENSORS[name].astype(np.int8)}
    assert f"{name} has dtype int8, which is not floating" in refusal(write_tiny(tmp_path, whole))
    twice = TENSORS | {"wte.weight": TENSORS["transformer.wte.weight"]}
    assert "both transformer.wte.weight and wte.weight" in refusal(write_tiny(tmp_path, twice))
    assert "implies untied" in refusal(write_tiny(tmp_path, tie_word_embeddings=False))
    other = TENSORS | {"lm_head.weight": np.zeros((5, 4), np.float32)}
    assert "ties lm_head.weight to wte.weight, but they are different" in refusal(write_tiny(tmp_path, other))
    assert "too few for the 1000000000 layers" in refusal(write_tiny(tmp_path, n_layer=10**9))
    load(write_tiny(tmp_path))


def test_pickles_are_refused_and_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path(tmp_path / "ran").touch, ()

    folder = write_tiny(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (folder / "modeling_x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load(folder)
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin, a pickle, which can run code when it is read: convert it" in refusal(folder)
    assert not (tmp_path / "ran").exists()
    (folder / "pytorch_model.bin").unlink()
    assert "holds neither model.safetensors nor model.safetensors.index.json" in refusal(folder)


def test_damaged_files_are_refused(tmp_path):
    folder = write_tiny(tmp_path)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for kept in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        assert "truncated" in refusal(folder)
    file.write_bytes(whole + b"x")
    assert "damaged" in refusal(folder)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 548105171\n")
    assert "is a Git LFS pointer, not weights" in refusal(folder)


def with_header(path, header, body=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", None),
        (b"[1]", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        ({"a": {"dtype": "F32", "shape": [4]}}, "tensor a has no valid shape and data_offsets"),
        ({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}, "no valid shape"),
        ({"a": {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]}}, "no valid shape"),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16, 16]}}, "no valid shape"),
        ({"a": {"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]}}, "dtype F8_E4M3, which is not one of"),
        ({"a": {"dtype": [1], "shape": [16], "data_offsets": [0, 16]}}, "dtype .* is not one of"),
        ({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}, "has 16 bytes for F32 of shape"),
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, "truncated"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, "does not begin where the one before it ends"),
        (
            {x: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for x in "ab"},
            "tensor b does not begin where the one before it ends",
        ),
        (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{}}', "names a tensor twice"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, header, message):
    path = with_header(tmp_path / "x.safetensors", header, b"" if message is None else b"\0" * 16)
    if message is None:
        assert safetensors_files.header(path) == {}
        return
    with pytest.raises(ValueError, match=message):
        safetensors_files.header(path)


def test_flipped_bits_in_a_header_raise_nothing_but_value_errors(tmp_path):
    folder = write_tiny(tmp_path)
    file = folder / "model.safetensors"
    whole, rng, refused = file.read_bytes(), np.random.default_rng(0), 0
    length = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(150):
        changed = bytearray(whole)
        changed[rng.integers(length)] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        try:
            load(folder, place=lambda path, array: None)
        except ValueError:
            refused += 1
    assert refused > 100


def test_shards(tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(FOLDERS / "llama", folder)
    index = folder / "model.safetensors.index.json"
    second = folder / "model-00002-of-00003.safetensors"
    kept = second.read_bytes()
    second.unlink()
    assert refusal(folder).endswith("model-00002-of-00003.safetensors is missing: model.safetensors.index.json names"
                                    " this shard")  # fmt: skip
    second.write_bytes(kept[:-1])
    assert "truncated" in refusal(folder)
    second.write_bytes(kept)
    weight_map = json.loads(index.read_text())["weight_map"]
    name = "model.norm.weight"
    index.write_text(json.dumps({"weight_map": {k: v for k, v in weight_map.items() if k != name}}))
    assert f"disagree: tensor {name} is not in the index" in refusal(folder)
    index.write_text(json.dumps({"weight_map": weight_map | {"model.x": second.name}}))
    assert "disagree: tensor model.x is not in the shard" in refusal(folder)
    for elsewhere in ("../llama/" + second.name, "/etc/passwd", "weights.bin"):
        index.write_text(json.dumps({"weight_map": {name: elsewhere}}))
        assert "is not a .safetensors file of the same folder" in refusal(folder)
    for broken in ("{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'):
        index.write_text(broken)
        assert "has no weight_map" in refusal(folder)


def test_writing_and_reading_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {code: rng.integers(0, 2, (3, 5)).astype(dtype) for code, dtype in safetensors_files.DTYPES.items()}
    arrays |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.float64(2.5), "turned": rng.random((4, 3)).T}
    listed = [(name, np.asarray(x).dtype, np.shape(x), lambda x=x: x) for name, x in arrays.items()]
    safetensors_files.write(tmp_path / "x.safetensors", listed)
    stored = safetensors_files.header(tmp_path / "x.safetensors")
    for name, x in arrays.items():
        found = safetensors_files.read(stored[name])
        assert found.dtype == np.asarray(x).dtype
        np.testing.assert_array_equal(found, x)
    with pytest.raises(ValueError, match="complex128, which safetensors files cannot hold"):
        safetensors_files.write(tmp_path / "y.safetensors", [("z", np.complex128, (), lambda: np.complex128(1))])


def test_tokenizer(tmp_path):
    pytest.importorskip("tokenizers")
    reference = np.load(FOLDERS / "gpt2" / "reference.npz")
    tokenizer = load_tokenizer(FOLDERS / "gpt2", 272)
    text = str(reference["text"])
    np.testing.assert_array_equal(tokenizer.encode(text, special_tokens=True), reference["ids"])
    ids = tokenizer.encode(text)
    np.testing.assert_array_equal(ids, reference["ids"][1:])
    assert ids.dtype == np.int32
    assert tokenizer.decode(reference["ids"]) == text
    assert len(tokenizer.encode("")) == 0
    with pytest.raises(ValueError, match="does not know"):
        load_tokenizer(FOLDERS / "gpt2", 100).encode(text)
    with pytest.raises(ValueError, match=r"tokenizer.json is missing: write it with"):
        load_tokenizer(tmp_path, 272)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a valid tokenizer"):
        load_tokenizer(tmp_path, 272)


def test_left_padding():
    tokens_BT, positions_BT, visible_BT = left_padded([[7, 8, 9], [5]], 8)
    np.testing.assert_array_equal(tokens_BT, [[7, 8, 9], [0, 0, 5]])
    np.testing.assert_array_equal(positions_BT, [[0, 1, 2], [0, 0, 0]])
    np.testing.assert_array_equal(visible_BT, [[True, True, True], [False, False, True]])
    for bad in ([], [[1], []]):
        with pytest.raises(ValueError, match="at least one token"):
            left_padded(bad, 8)
    left_padded([[1] * 8], 8)
    with pytest.raises(ValueError, match="a prompt of 9 tokens does not fit the model's context of 8"):
        left_padded([[1] * 9], 8)
    with pytest.raises(ValueError, match="a prompt of 6 tokens and 3 new ones does not fit"):
        left_padded([[1] * 6], 8, num_new_tokens=3)
