"""Trains an experiment's arms and prints what was measured of its claims.

python train.py --experiment=induction_heads
python train.py --experiment=induction_heads --config.num_steps=500 --arms=two_layer
python train.py --list
"""

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path

from absl import flags

import experiments
from training import command
from training.experiment import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "experiment",
    None,
    "name of the experiment, or a path to a folder with an experiment.py; --list names the experiments, "
    "--experiment=NAME --help shows the fields of its config",
)
flags.DEFINE_string("preset", None, "a named variant of the experiment's config")
flags.DEFINE_string("workdir", None, "where everything is written; default runs/NAME. A run found there is resumed")
flags.DEFINE_list("arms", [], "a subset of the experiment's arms")
flags.DEFINE_integer("num_seeds", 1, "seeds trained at once; claims are then means with 95 % intervals", lower_bound=1)
flags.DEFINE_enum("parallelism", "auto", ["auto", "single", "pmap", "mesh"], "how several devices share a batch")
flags.DEFINE_string("mesh", "", "the mesh's axes and sizes, such as data=4,fsdp=2,model=1")
flags.DEFINE_string("coordinator", None, "HOST:PORT of the first of several processes; found by itself in a cluster")
flags.DEFINE_integer("num_processes", None, "how many processes train together; goes with --coordinator")
flags.DEFINE_integer("process_id", None, "which of the processes this one is, from 0; goes with --coordinator")
flags.DEFINE_integer("stop_at", None, "save at this step and end; the same command without it goes on", lower_bound=0)
flags.DEFINE_string("data_dir", None, "where data sets lie; default $TFDS_DATA_DIR")
flags.DEFINE_string(
    "sweep", "", "train many trials at once: FIELD=log(LOW,HIGH),FIELD=uniform(LOW,HIGH),FIELD=choice(A,B)"
)
flags.DEFINE_integer("num_trials", 64, "how many trials --sweep trains", lower_bound=1)
flags.DEFINE_enum("sweep_method", "random", ["random", "grid"], "how --sweep chooses its trials")
flags.DEFINE_bool("list", False, "list the experiments and their presets")
flags.DEFINE_bool("summary", False, "print the arms' parameters and shapes, and train nothing")
flags.DEFINE_integer(
    "profile", 0, "trace this many steps of the first arm that is trained, for TensorBoard and Perfetto", lower_bound=0
)
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)

IGNORED_BY_SWEEP = ("num_seeds", "stop_at", "profile", "mesh", "coordinator")


def main(argv):
    start = time.monotonic()
    if FLAGS.list:
        print("\n".join(experiments.listing()))
        return
    if not FLAGS.experiment:
        raise UserError(f"--experiment=NAME is required; there are: {', '.join(experiments.names())}")
    from training import run, sweep

    if FLAGS.data_dir:
        os.environ["TFDS_DATA_DIR"] = FLAGS.data_dir
    experiment = experiments.load(FLAGS.experiment)
    config, arms, overrides = command.read_request(experiment)
    axes = sweep.parse(FLAGS.sweep) if FLAGS.sweep else {}
    arm_configs = run.select_arms(experiment, config, arms, overrides | axes)
    if axes:
        search(experiment, config, arm_configs, axes, start)
    elif FLAGS.summary:
        summarize(experiment, arm_configs)
    else:
        train(experiment, config, arm_configs, start)


def train(experiment, config, arm_configs, start):
    """Trains the arms, judges the claims and writes the report; a run found in the workdir is resumed."""
    from reporting import report
    from training import files, processes, run, workdirs

    name = experiments.identify(FLAGS.experiment)
    workdir = FLAGS.workdir or f"runs/{Path(name).name}"
    placement, tasks = make_tasks(experiment, arm_configs)
    if FLAGS.profile and files.is_remote(workdir):
        raise UserError(f"--profile writes to a disk, and --workdir={workdir} is a bucket")
    with contextlib.ExitStack() as held:
        opened = workdirs.open_workdir(workdir, name, config, arm_configs, FLAGS.num_seeds, tasks)
        processes.first_decides(held.enter_context, opened)
        results = run.train(
            experiment,
            tasks,
            arm_configs,
            workdir,
            placement,
            FLAGS.num_seeds,
            stop_at=FLAGS.stop_at,
            profile=FLAGS.profile,
        )
        if not processes.is_first():
            return
        if results is None:
            print(f"stopped at step {FLAGS.stop_at}; the same command without --stop_at goes on")
            return
        workdirs.save_results(workdir, results)
        facts = workdirs.facts() | {"parallelism": f"{placement.kind} over {placement.num_devices} device(s)"}
        print(report.write(workdir, name, experiment, results, command=typed_command(), facts=facts, start=start))
        print(f"report: {workdir}/report.html")


def make_tasks(experiment, arm_configs):
    """(placement, {arm: Task or Measurement}) on the devices and processes that the flags ask for."""
    from training import parallel, processes, run

    processes.join(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    placement = parallel.choose(FLAGS.parallelism, FLAGS.mesh)
    return placement, run.make_tasks(experiment, arm_configs, placement)


def summarize(experiment, arm_configs):
    """Prints layers, shapes and parameters of the arms."""
    from models import summary
    from training.summary import summarize

    _, tasks = make_tasks(experiment, arm_configs)
    print(summarize(tasks, lambda *model: summary.text(summary.layers(*model))))


def search(experiment, config, arm_configs, axes, start):
    """Trains the trials of --sweep and reports what each axis does."""
    from reporting import search
    from training import sweep

    if ignored := [flag for flag in IGNORED_BY_SWEEP if FLAGS[flag].present]:
        raise UserError(f"--sweep is one program on one device with one seed a trial; leave out --{ignored[0]}")
    name = experiments.identify(FLAGS.experiment)
    workdir = FLAGS.workdir or f"runs/sweep/{Path(name).name}"
    values = sweep.sample(axes, FLAGS.num_trials, config.seed, FLAGS.sweep_method)
    print(search.search(workdir, name, experiment, arm_configs, axes, values, command=typed_command(), start=start))
    print(f"report: {workdir}/report.html")


def typed_command():
    """The command, as a shell would take it."""
    return "python " + shlex.join(sys.argv)


if __name__ == "__main__":
    command.run(main, experiments.load)
