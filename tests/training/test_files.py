"""Files of a run on a disk, and in a bucket as far as a stand-in for one goes: a file system in memory behind gs://.

Orbax writes its arrays to buckets by itself, past that stand-in; this is about all that is ours.
"""

import json
import subprocess

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from regression.experiment import EXPERIMENT

from reporting import report
from training import files, metrics, workdirs
from training.experiment import UserError


class Bucket(MemoryFileSystem):
    protocol = ("gs", "gcs")
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/")

    def rename(self, source, target, recursive=False):
        raise AssertionError("a bucket has no cheap rename")


@pytest.fixture
def bucket(tmp_path):
    """A folder of a bucket in memory, new to each test."""
    for protocol in Bucket.protocol:
        fsspec.register_implementation(protocol, Bucket, clobber=True)
    return epath.Path(f"gs://bucket/{tmp_path.name}")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, bucket):
    for folder in (epath.Path(tmp_path), bucket):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / "a.txt", "first")
        files.write_whole(folder / "a.txt", b"second")
        assert (folder / "a.txt").read_text() == "second"
        assert [path.name for path in folder.iterdir()] == ["a.txt"]
    with pytest.raises(OSError, match="absent"):
        files.write_whole(tmp_path / "absent" / "b.txt", "")


def test_a_manifest_is_what_sha256sum_checks(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"\0\1")
    (tmp_path / "b").write_text("b")
    files.seal(tmp_path)
    checked = subprocess.run(["sha256sum", "--check", "--strict", files.MANIFEST], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert files.damage(tmp_path) is None
    (tmp_path / "deep" / "a").write_bytes(b"\0\0")
    assert files.damage(tmp_path) == "deep/a was changed"
    (tmp_path / "b").unlink()
    assert files.damage(tmp_path) == "b is missing"


def test_sealing_works_in_a_bucket(bucket):
    (bucket / "deep").mkdir(parents=True, exist_ok=True)
    (bucket / "deep" / "a").write_text("a")
    assert not files.is_sealed(bucket)
    files.seal(bucket)
    assert files.is_sealed(bucket)
    assert files.damage(bucket) is None
    (bucket / "deep" / "a").write_text("b")
    assert files.damage(bucket) == "deep/a was changed"


def test_a_bucket_cannot_be_locked_and_a_disk_can(tmp_path, bucket):
    with files.lock(bucket), files.lock(bucket):
        pass
    with files.lock(tmp_path), pytest.raises(UserError, match="is in use by process"), files.lock(tmp_path):
        pass


def test_metrics_in_a_bucket_are_those_on_a_disk_without_events(tmp_path, bucket):
    for folder in (tmp_path, bucket):
        with metrics.Writer(folder, [0]) as writer:
            for step in (0, 2, 4):
                writer.write(step, "eval", {"loss": np.array([1.0 / (1 + step)])})
        with metrics.Writer(folder, [0], 2) as writer:  # a resumed run: step 4 is done again
            writer.write(4, "eval", {"loss": np.array([0.5])})
    on_disk, in_bucket = ((epath.Path(folder) / "metrics.jsonl").read_text() for folder in (tmp_path, bucket))
    assert in_bucket == on_disk
    assert metrics.read(bucket, 1)["eval"]["loss"].ravel().tolist() == [1.0, 1 / 3, 0.5]
    assert len(list(tmp_path.glob("events*"))) == 2
    assert [path.name for path in bucket.iterdir()] == ["metrics.jsonl"]


def test_what_a_run_writes_besides_checkpoints_can_lie_in_a_bucket(bucket):
    arms = {"plain": EXPERIMENT.config}
    with workdirs.open_workdir(str(bucket), "regression", EXPERIMENT.config, arms, 1):
        workdirs.save_results(bucket, {})
        report.write(bucket, "regression", EXPERIMENT, {}, command="", facts={}, start=0.0)
    with workdirs.open_workdir(str(bucket), "regression", EXPERIMENT.config, arms, 1):
        pass  # the same run again
    assert json.loads((bucket / "config.json").read_text())["experiment"] == "regression"
    assert {path.name for path in bucket.iterdir()} == {"config.json", "claims.json", "report.html", "results.npz"}
