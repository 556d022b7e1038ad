"""Examines a trained run again, or a pretrained model, in a folder of its own.

python eval.py --checkpoint=runs/induction_heads
python eval.py --checkpoint=runs/induction_heads/two_layer/checkpoints/1000 --workdir=runs/eval/last
python eval.py --experiment=induction_heads --hf_checkpoint=DIR --text=FILE
"""

import shlex
import sys
import time

from absl import flags
from etils import epath

import experiments
from training import command
from training.experiment import UserError
from training.progress import say

FLAGS = flags.FLAGS
PRETRAINED = "induction_heads"  # the experiment whose probes examine pretrained models
flags.DEFINE_string("checkpoint", None, "a workdir of train.py, an arm's folder in it, or one step's checkpoint")
flags.DEFINE_string("workdir", None, "where the report is written; default runs/eval/NAME. Nothing else is written")
flags.DEFINE_string("experiment", None, f"{PRETRAINED}, which examines every attention head; goes with --hf_checkpoint")
flags.DEFINE_string("hf_checkpoint", None, "a folder with config.json and safetensors; several, or a pattern: a series")
flags.DEFINE_string("text", None, "a text file on which --hf_checkpoint is examined as well")
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)


def main(argv):
    start = time.monotonic()
    if bool(FLAGS.checkpoint) == bool(FLAGS.hf_checkpoint):
        raise UserError("give either --checkpoint=DIR, a run of train.py, or --hf_checkpoint=DIR, a pretrained model")
    (examine_pretrained if FLAGS.hf_checkpoint else examine_run)(start)


def examine_run(start):
    """Evaluates, probes and judges a run of train.py anew."""
    for flag in ("text", "experiment"):
        if FLAGS[flag].value:
            raise UserError(f"--{flag} goes with --hf_checkpoint; a run of train.py knows its own")
    from reporting import report
    from training import checkpoint, run, workdirs

    source, arm, step = checkpoint.locate(FLAGS.checkpoint)
    record = checkpoint.read_run(source)
    experiment = experiments.load_recorded(source, record)
    name = record["experiment"]
    workdir = output_folder(epath.Path(name).name, source)
    results = run.evaluate(experiment, record, source, [arm] if arm else None, step)
    workdir = workdirs.make_folder(workdir)
    workdirs.write_json(workdir / "metrics.json", run.metrics_of(results))
    workdirs.save_results(workdir, results)
    facts = workdirs.facts() | {"examined": str(FLAGS.checkpoint)}
    print(report.write(workdir, name, experiment, results, command=typed_command(), facts=facts, start=start))
    print(f"report: {workdir}/report.html")


def examine_pretrained(start):
    """Surveys the heads of a pretrained model, or of a series of checkpoints."""
    if FLAGS.experiment != PRETRAINED:
        raise UserError(f"--hf_checkpoint needs --experiment={PRETRAINED}, the one that examines pretrained models")
    from probes import pretrained_survey
    from reporting import pretrained as pages
    from training import workdirs

    try:
        folders = pretrained_survey.folders(FLAGS.hf_checkpoint)
        workdir = output_folder(PRETRAINED, *map(epath.Path, folders))
        surveyed = pretrained_survey.survey_folders(folders, FLAGS.text, say=say)
    except ValueError as error:
        raise UserError(error) from error
    workdir = workdirs.make_folder(workdir)
    facts = workdirs.facts() | {"examined": FLAGS.hf_checkpoint, "text": FLAGS.text or "none"}
    print(pages.write(workdir, surveyed, command=typed_command(), facts=facts, start=start))
    print(f"report: {workdir}/report.html")


def output_folder(name, *sources):
    """--workdir or its default; raises UserError where it lies in what is examined."""
    workdir = epath.Path(FLAGS.workdir or f"runs/eval/{name}")
    for source in (epath.Path(source).absolute() for source in sources):
        if source in (workdir.absolute(), *workdir.absolute().parents):
            raise UserError(f"--workdir={workdir} lies in {source}, which is examined; choose another")
    return workdir


def typed_command():
    """The command, as a shell would take it."""
    return "python " + shlex.join(sys.argv)


if __name__ == "__main__":
    command.run(main)
