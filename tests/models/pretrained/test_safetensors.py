"""Safetensors files: every dtype there and back, and every way in which a header can be damaged."""

import json

import numpy as np
import pytest

from models.pretrained.safetensors import DTYPES, read_array, read_header, write_arrays


def test_writing_and_reading_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {code: rng.integers(0, 2, (3, 5)).astype(dtype) for code, dtype in DTYPES.items()}
    arrays |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.float64(2.5), "turned": rng.random((4, 3)).T}
    rows = [(name, np.asarray(x).dtype, np.shape(x), lambda x=x: x) for name, x in arrays.items()]
    write_arrays(tmp_path / "x.safetensors", rows)
    stored = read_header(tmp_path / "x.safetensors")
    for name, x in arrays.items():
        array = read_array(stored[name])
        assert array.dtype == np.asarray(x).dtype
        np.testing.assert_array_equal(array, x)
    with pytest.raises(ValueError, match="complex128, which safetensors files cannot hold"):
        write_arrays(tmp_path / "y.safetensors", [("z", np.complex128, (), lambda: np.complex128(1))])


def write_file(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def test_a_header_may_be_empty(tmp_path):
    assert read_header(write_file(tmp_path / "x.safetensors", b"[]", b"")) == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
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
    path = write_file(tmp_path / "x.safetensors", header, b"\0" * 16)
    with pytest.raises(ValueError, match=message):
        read_header(path)
