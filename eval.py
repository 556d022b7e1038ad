"""Examines a trained run again: evaluates, probes and judges it, in a folder of its own.

python eval.py --checkpoint=runs/induction_heads
python eval.py --checkpoint=runs/induction_heads/two_layer/checkpoints/1000 --workdir=runs/eval/last
"""

import shlex
import sys
import time

from absl import flags
from etils import epath

import experiments
from training import command
from training.experiment import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "a workdir of train.py, an arm's folder in it, or one step's checkpoint")
flags.DEFINE_string("workdir", None, "where the report is written; default runs/eval/NAME. Nothing else is written")
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)


def main(argv):
    if not FLAGS.checkpoint:
        raise UserError("--checkpoint=DIR is required: a workdir of train.py, an arm's folder or one step's checkpoint")
    began = time.monotonic()
    from reporting import report
    from training import checkpoint, run

    source, arm, step = checkpoint.locate(FLAGS.checkpoint)
    record = checkpoint.read_run(source)
    experiment = experiments.load(record["experiment"])
    workdir = epath.Path(FLAGS.workdir or f"runs/eval/{record['experiment']}")
    if source in (workdir.absolute(), *workdir.absolute().parents):
        raise UserError(f"--workdir={workdir} lies in the run that is examined; choose another")
    results = run.evaluate(experiment, record, source, [arm] if arm else None, step)
    workdir = run.make_folder(workdir)
    run.write_json(workdir / "metrics.json", run.metrics_of(results))
    run.save_results(workdir, results)
    facts = run.facts() | {"examined": str(FLAGS.checkpoint)}
    name, reproduce = record["experiment"], "python " + shlex.join(sys.argv)
    print(report.write(workdir, name, experiment, results, command=reproduce, facts=facts, began=began))
    print(f"report: {workdir}/report.html")


if __name__ == "__main__":
    command.run(main)
