"""A run that nothing disturbed, to compare disturbed ones with."""

import subprocess

import pytest
from regression.commands import SLOW_RUN, train


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The workdir of a SLOW_RUN that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    train(*SLOW_RUN, f"--workdir={workdir}")
    return workdir


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", folder], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
