"""The folders of pretrained models that tests/fixtures/make_hf.py wrote with the reference library.

The reference.npz in each holds what that library computed.
"""

from pathlib import Path

import pytest

from models.pretrained.folder import load

FOLDERS = Path(__file__).parents[2] / "fixtures" / "hf"
NAMES = ("gpt2", "gpt_neox", "llama", "qwen2", "gpt_neox_sequential", "llama_older")


@pytest.fixture(scope="session")
def reference_folders():
    """The folder of all reference folders."""
    return FOLDERS


@pytest.fixture(scope="session", params=NAMES)
def reference_folder(request):
    """Each of the reference folders in turn."""
    return FOLDERS / request.param


@pytest.fixture(scope="session")
def reference_model(reference_folder):
    """(Transformer, variables) of each reference folder."""
    return load(reference_folder)
