"""Several processes that train together: how they find each other, and what they decide in common."""

import importlib.util
import os
import threading

import jax
import numpy as np

from training.experiment import RunFailed, UserError

HEARTBEAT_SECONDS = 10  # a process that was silent for so long counts as dead, and the others end


def join(coordinator=None, num_processes=None, process_id=None):
    """Joins the processes of a run: as the flags say, or as the cluster says where this is one of its tasks.

    Call before anything asks for devices. One process alone joins nothing.

    Raises:
      UserError: only some of the flags were given, or the others cannot be reached.
    """
    flags = (coordinator, num_processes, process_id)
    if any(flag is not None for flag in flags) and None in flags:
        raise UserError("--coordinator=HOST:PORT, --num_processes=N and --process_id=I go together: give all three")
    if coordinator is None and not is_in_cluster():
        return
    if coordinator is not None and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id} must lie in 0 ... {num_processes - 1}")
    jax.config.update("jax_enable_preemption_service", False)  # its handler of SIGTERM would take the place of ours
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=120,
        )
    except (RuntimeError, ValueError) as error:
        where = f"at {coordinator}" if coordinator else "as the cluster told them"
        raise UserError(
            f"the processes did not find each other {where}: {str(error).splitlines()[0][:150]}. Are all started, with "
            "the same address, and is its port free?"
        ) from error


def is_in_cluster():
    """Whether this process is one of several that SLURM or MPI started, or runs on a TPU VM."""
    if any(int(os.environ.get(name, 1)) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")):
        return True
    on_tpu = any(os.path.exists(device) for device in ("/dev/accel0", "/dev/vfio/0"))
    return on_tpu and importlib.util.find_spec("libtpu") is not None


def is_first():
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def leave(code):
    """Ends this process with ``code`` within ten seconds, however long others take that know of no failure.

    At a normal end processes wait for each other. Where one has failed, the others wait for it elsewhere, and hear of
    its end only once it is gone.
    """
    if jax.process_count() > 1:
        timer = threading.Timer(10.0, os._exit, (code,))
        timer.daemon = True
        timer.start()


def exchange(number):
    """Every process's number [P], int32; all processes must ask in the same order."""
    number = np.array(number, np.int32)
    if jax.process_count() == 1:
        return number[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(number))


def first_says(number):
    """The whole number that the first process calls this with; all processes must ask in the same order."""
    return int(exchange(number)[0])


def any_says(flag):
    """Whether any process calls this with a flag that is true; all processes must ask in the same order."""
    return bool(exchange(flag).any())


def first_decides(function, *arguments):
    """Runs a function in the first process alone; the others wait for it and end where it fails.

    Returns:
      what the function returned, in the first process; None in the others.
    Raises:
      UserError or RunFailed: in the first process what the function raised, in the others that it did.
    """
    result, error, exit_code = None, None, 0
    if is_first():
        try:
            result = function(*arguments)
        except Exception as raised:
            error, exit_code = raised, 2 if isinstance(raised, UserError) else 1
    exit_code = first_says(exit_code)
    if error:
        raise error
    if exit_code:
        raise (UserError if exit_code == 2 else RunFailed)("the first process has failed; its own line says why")
    return result
