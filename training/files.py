"""Files of a run: on a disk or in a bucket, written whole, one run at a time in a folder."""

import contextlib
import hashlib
import os
import socket

from etils import epath

from training.experiment import UserError

MANIFEST = "SHA256SUMS"  # in the format of the command sha256sum, whose --check reads it


def is_remote(path):
    """Whether a path is a bucket's, such as gs://bucket/folder, where files cannot be appended to or locked."""
    return "://" in str(path)


def write_whole(path, content):
    """Writes text or bytes so that a reader sees the old file or the new one, never a part."""
    path = epath.Path(path)
    # An object in a bucket comes into being whole.
    target = path if is_remote(path) else path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        target.write_bytes(content) if isinstance(content, bytes) else target.write_text(content)
        if target != path:
            target.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def lock(folder):
    """Holds a folder for this process; the kernel lets go of it however the process ends.

    Raises:
      UserError: another process holds it.
    """
    if is_remote(folder):
        yield
        return
    import fcntl

    with open(epath.Path(folder) / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another run"
            raise UserError(f"{folder} is in use by {holder}; wait for its end, or choose another --workdir") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def seal(folder):
    """Writes the manifest of a folder that is complete: the SHA-256 of every file in it."""
    write_whole(epath.Path(folder) / MANIFEST, _manifest(folder))


def is_sealed(folder):
    """Whether the folder has a manifest; whether its files still agree with it, ``damage`` says."""
    return (epath.Path(folder) / MANIFEST).exists()


def damage(folder):
    """What is wrong with a sealed folder, in a few words, or None where every byte is as it was sealed."""
    folder = epath.Path(folder)
    try:
        manifest, expected = (folder / MANIFEST).read_bytes(), _manifest(folder).encode()
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror}"
    if manifest == expected:
        return None
    sealed, present = (
        {line[66:]: line for line in text.decode(errors="replace").splitlines()} for text in (manifest, expected)
    )
    different = sorted(name for name in {*sealed, *present} if sealed.get(name) != present.get(name))
    if not different:
        return f"{MANIFEST} was changed"
    name = different[0]
    if name not in present:
        return f"{name[:80]} is missing"
    return f"{name[:80]} {'was changed' if name in sealed else 'is not in the manifest'}"


def _manifest(folder):
    """A line "SHA-256  path" for each file, sorted by path."""
    folder = epath.Path(folder)
    lines = []
    for path in sorted(_files(folder), key=str):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    return "".join(lines)


def _files(folder):
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        elif path.name != MANIFEST and not path.name.endswith(".unfinished"):
            yield path
