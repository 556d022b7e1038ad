"""Text for pretrained models: the reference's tokenizer, and prompts of different lengths in one batch."""

import numpy as np
import pytest

from models.pretrained.text import load_tokenizer, pad_left


def test_tokenizer(reference_folders, tmp_path):
    pytest.importorskip("tokenizers")
    reference = np.load(reference_folders / "gpt2" / "reference.npz")
    tokenizer = load_tokenizer(reference_folders / "gpt2", 272)
    text = str(reference["text"])
    np.testing.assert_array_equal(tokenizer.encode(text, special_tokens=True), reference["ids"])
    ids = tokenizer.encode(text)
    np.testing.assert_array_equal(ids, reference["ids"][1:])
    assert ids.dtype == np.int32
    assert tokenizer.decode(reference["ids"]) == text
    assert len(tokenizer.encode("")) == 0
    with pytest.raises(ValueError, match="does not know"):
        load_tokenizer(reference_folders / "gpt2", 100).encode(text)
    with pytest.raises(ValueError, match=r"tokenizer.json is missing: write it with"):
        load_tokenizer(tmp_path, 272)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a valid tokenizer"):
        load_tokenizer(tmp_path, 272)


def test_left_padding():
    tokens_BT, positions_BT, visible_BT = pad_left([[7, 8, 9], [5]], 8)
    np.testing.assert_array_equal(tokens_BT, [[7, 8, 9], [0, 0, 5]])
    np.testing.assert_array_equal(positions_BT, [[0, 1, 2], [0, 0, 0]])
    np.testing.assert_array_equal(visible_BT, [[True, True, True], [False, False, True]])
    for bad in ([], [[1], []]):
        with pytest.raises(ValueError, match="at least one token"):
            pad_left(bad, 8)
    pad_left([[1] * 8], 8)
    with pytest.raises(ValueError, match="a prompt of 9 tokens does not fit the model's context of 8"):
        pad_left([[1] * 9], 8)
    with pytest.raises(ValueError, match="a prompt of 6 tokens and 3 new ones does not fit"):
        pad_left([[1] * 6], 8, num_new_tokens=3)
