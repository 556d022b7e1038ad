"""Pretrained folders: how they are loaded, and every way in which their arrays and files can be wrong."""

import json
import pickle
import shutil
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from random_models import parameter_shapes

from models.pretrained.export import export
from models.pretrained.folder import describe, load
from models.pretrained.safetensors import write_arrays
from models.transformer import TransformerConfig


def test_settings_of_load(reference_folders):
    module, variables = load(
        reference_folders / "gpt2", context_length=16, dtype="bfloat16", parameter_dtype="bfloat16"
    )
    assert module.config.dtype == "bfloat16"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"bfloat16"}
    assert variables["params"]["positions"].shape == (16, 32)
    with pytest.raises(ValueError, match="17 tokens do not fit context_length=16"):
        module.apply(variables, np.zeros((1, 17), np.int32))
    with pytest.raises(ValueError, match="context_length=97 exceeds its 96"):
        describe(reference_folders / "gpt2", context_length=97)
    with pytest.raises(ValueError, match="d_model is not a setting of a pretrained model; dtype"):
        describe(reference_folders / "gpt2", d_model=64)


def test_arrays_go_straight_onto_a_mesh(reference_folders):
    mesh = jax.make_mesh((4,), ("model",), devices=jax.devices()[:4])
    paths = []

    def place(path, array):
        paths.append(path)
        split = PartitionSpec(None, "model") if path.endswith(("query/kernel", "key/kernel")) else PartitionSpec()
        return jax.device_put(array, NamedSharding(mesh, split))

    variables = load(reference_folders / "gpt2", place=place)[1]
    query = variables["params"]["layer_1"]["attention"]["query"]["kernel"]
    assert query.addressable_shards[0].data.shape == (32, 1, 8)
    jax.tree.map(np.testing.assert_array_equal, variables, load(reference_folders / "gpt2")[1])
    assert len(paths) == len(set(paths)) == len(jax.tree.leaves(variables))


def test_memory_stays_near_one_array(tmp_path):
    config = TransformerConfig(vocab_size=64, context_length=64, num_layers=12, d_model=64, norm="layernorm", d_mlp=256)
    export(tmp_path, config, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), parameter_shapes(config)), "gpt2")
    sizes = []
    tracemalloc.start()
    load(tmp_path, place=lambda path, array: sizes.append(array.nbytes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    largest = 4 * 64 * 256
    assert sum(sizes) > 30 * largest
    assert peak < 5 * largest + 500_000  # the second term is for tables of names


# A tiny GPT-2, of which each test below writes a folder with one thing wrong.
TINY = {"model_type": "gpt2", "vocab_size": 5, "n_positions": 4, "n_embd": 4, "n_layer": 1, "n_head": 2, "n_inner": 3}
SHAPES = {
    "wte.weight": (5, 4),
    "wpe.weight": (4, 4),
    "h.0.ln_1.weight": (4,),
    "h.0.ln_1.bias": (4,),
    "h.0.attn.c_attn.weight": (4, 12),
    "h.0.attn.c_attn.bias": (12,),
    "h.0.attn.c_proj.weight": (4, 4),
    "h.0.attn.c_proj.bias": (4,),
    "h.0.ln_2.weight": (4,),
    "h.0.ln_2.bias": (4,),
    "h.0.mlp.c_fc.weight": (4, 3),
    "h.0.mlp.c_fc.bias": (3,),
    "h.0.mlp.c_proj.weight": (3, 4),
    "h.0.mlp.c_proj.bias": (4,),
    "ln_f.weight": (4,),
    "ln_f.bias": (4,),
}
TENSORS = {f"transformer.{name}": np.random.default_rng(0).random(shape, np.float32) for name, shape in SHAPES.items()}


def write_tiny(folder, tensors=TENSORS, **keys):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY | keys))
    rows = [(name, x.dtype, x.shape, lambda x=x: x) for name, x in tensors.items()]
    write_arrays(folder / "model.safetensors", rows)
    return folder


def refusal(folder):
    """The message with which loading a folder is refused."""
    with pytest.raises(ValueError, match=r".") as error:
        load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_with_and_without_the_prefix_and_buffers_are_understood(tmp_path):
    bare = {name.removeprefix("transformer."): x for name, x in TENSORS.items()}
    mask = {"h.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8), "h.0.attn.masked_bias": np.float32(-1e4)}
    copy = {"lm_head.weight": TENSORS["transformer.wte.weight"]}
    only_copy = {name: x for name, x in (TENSORS | copy).items() if "wte" not in name}
    expected = load(write_tiny(tmp_path))[1]
    for tensors in (bare, bare | mask, TENSORS | copy, only_copy):
        jax.tree.map(np.testing.assert_array_equal, load(write_tiny(tmp_path, tensors))[1], expected)


def test_both_names_of_an_unembedding_are_understood(reference_folders, tmp_path):
    folder = tmp_path / "gpt_neox"
    shutil.copytree(reference_folders / "gpt_neox", folder)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"embed_out.weight"', b'"lm_head.weight"  '))
    assert file.read_bytes() != whole
    jax.tree.map(np.testing.assert_array_equal, load(folder)[1], load(reference_folders / "gpt_neox")[1])


def test_wrong_arrays_are_named(tmp_path):
    name = "transformer.h.0.attn.c_attn.weight"
    fewer = {key: x for key, x in TENSORS.items() if key != name}
    assert "lacks tensor h.0.attn.c_attn.weight, which" in refusal(write_tiny(tmp_path, fewer))
    extra = TENSORS | {"transformer.h.0.attn.q_norm.weight": np.ones(2, np.float32)}
    assert "holds tensor transformer.h.0.attn.q_norm.weight, which the model" in refusal(write_tiny(tmp_path, extra))
    transposed = TENSORS | {name: TENSORS[name].T}
    assert f"{name} has shape [12, 4]; config.json implies [4, 12]" in refusal(write_tiny(tmp_path, transposed))
    integers = TENSORS | {name: TENSORS[name].astype(np.int8)}
    assert f"{name} has dtype int8, which is not floating" in refusal(write_tiny(tmp_path, integers))
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


def test_flipped_bits_in_a_header_raise_nothing_but_value_errors(tmp_path):
    folder = write_tiny(tmp_path)
    file = folder / "model.safetensors"
    whole, rng, num_refused = file.read_bytes(), np.random.default_rng(0), 0
    length = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(150):
        changed = bytearray(whole)
        changed[rng.integers(length)] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        try:
            load(folder, place=lambda path, array: None)
        except ValueError:
            num_refused += 1
    assert num_refused > 100


def test_shards(reference_folders, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(reference_folders / "llama", folder)
    index = folder / "model.safetensors.index.json"
    second = folder / "model-00002-of-00003.safetensors"
    kept = second.read_bytes()
    second.unlink()
    assert refusal(folder).endswith(f"{second.name} is missing: model.safetensors.index.json names this shard")
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
