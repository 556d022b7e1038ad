"""What the commands share: flags in, exit codes out.

Exit codes: 0 done; 1 the run failed; 2 the command was wrong; 130 interrupted, after saving.
"""

import contextlib
import os
import platform
import re
import sys
import zlib
from pathlib import Path

import jax
from absl import app, flags, logging

from training import config, processes, signals
from training.experiment import Interrupted, RunFailed, UserError

FLAGS = flags.FLAGS
JAX_FLAGS = ("debug_nans", "disable_jit", "log_compiles")
flags.DEFINE_bool("debug", False, "show the traceback of an error")
flags.DEFINE_bool("debug_nans", False, "end with a traceback at the operation that first gives a NaN (slow)")
flags.DEFINE_bool("disable_jit", False, "run operation by operation, for a debugger (very slow)")
flags.DEFINE_bool("log_compiles", False, "log every compilation")
HELP_FLAGS = ("--help", "-h", "-?", "--helpfull", "--helpshort", "--helpxml")


def run(main, load=None):
    """Runs ``main()`` with the flags of the command line, and turns its errors into one clear line and an exit code.

    Args:
      load: an experiment's name -> the Experiment; gives the command typed ``--config.FIELD`` flags.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's remarks about its own compilation
    logging.set_verbosity(logging.WARNING)
    app.run(
        lambda argv: _exit_on_error(_start, main, argv),
        flags_parser=lambda argv: _exit_on_error(_parse, argv, load),
    )


def _start(main, argv):
    for name in JAX_FLAGS:
        if FLAGS[name].value:
            jax.config.update(f"jax_{name}", True)
    cache = _compilation_cache()
    if cache:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # Only training has something to save first; other commands end at once.
    with signals.catch() if "stop_at" in FLAGS else contextlib.nullcontext():
        try:
            main(argv)
        except BaseException as error:
            processes.leave({UserError: 2, Interrupted: 130}.get(type(error), 1))
            raise


def _compilation_cache():
    """The folder of compiled programs, for a faster second start; None where jax was told of one or it cannot be had.

    Programs for a CPU may use any instruction that it has, so each kind of CPU has a folder of its own.
    """
    if jax.config.jax_compilation_cache_dir or FLAGS.debug_nans or FLAGS.disable_jit:
        return None
    try:
        features = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        features = platform.processor()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "assay" / f"compiled-{zlib.crc32(features.encode()):08x}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _exit_on_error(function, *args):
    try:
        return function(*args)
    except UserError as error:
        _end(error, 2)
    except flags.Error as error:
        _end(_flag_error(error), 2)
    except RunFailed as error:
        _end(error, 1)
    except BrokenPipeError:  # the reader of a pipe has left
        os._exit(1)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _end(f"{error.strerror}{where}" if error.strerror else error, 1)
    except Interrupted as error:
        _end(error, 130)
    except KeyboardInterrupt:  # before signals are caught: there is nothing to save
        _end("interrupted", 130)


def _end(error, code):
    if "debug" in FLAGS and FLAGS["debug"].value and isinstance(error, BaseException):
        raise error
    print(f"error: {error}" if code != 130 else error, file=sys.stderr)
    sys.exit(code)


def _flag_error(error):
    if isinstance(error, flags.UnrecognizedFlagError):
        name = error.flagname
        if name.startswith("config."):
            fields = [flag.removeprefix("config.") for flag in FLAGS if flag.startswith("config.")]
            if not fields:
                return f"--{name} needs --experiment=NAME"
            return f"unknown config field {name.removeprefix('config.')!r}" + config.closest(name[7:], fields)
        visible = FLAGS.flags_by_module_dict().get(sys.argv[0], [])
        return f"unknown flag --{name}" + config.closest(name, [flag.name for flag in visible])
    text = str(error).replace("flag --", "--", 1)
    return re.sub("invalid literal for int.*: (.*)", r"\1 is not a whole number", text)


def _parse(argv, load):
    if load:
        FLAGS([arg for arg in argv if arg not in HELP_FLAGS], known_only=True)
        if FLAGS.experiment:
            config.define_flags(_preset_config(load(FLAGS.experiment)))
    try:
        rest = FLAGS(argv)
    except SystemExit:  # absl ends --help with 1
        sys.exit(0)
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags have the form --NAME=VALUE")
    return rest


def _selected_preset(experiment):
    if FLAGS.preset and FLAGS.preset not in experiment.presets:
        raise UserError(f"unknown preset {FLAGS.preset!r}" + config.closest(FLAGS.preset, experiment.presets))
    return experiment.presets.get(FLAGS.preset)


def _preset_config(experiment):
    preset = _selected_preset(experiment)
    return config.override(experiment.config, preset.overrides) if preset else experiment.config


def read_request(experiment):
    """What the flags ask of an experiment.

    Returns:
      (config with preset and flags applied, names of the arms asked for, {path: value} of the ``--config.`` flags).
    """
    overrides = config.flag_overrides()
    preset = _selected_preset(experiment)
    arms = FLAGS.arms or (preset.arms if preset else ())
    return config.override(_preset_config(experiment), overrides), arms, overrides
