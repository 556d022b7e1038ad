"""Examines a trained run again, asks it something new, or examines a pretrained model, in a folder of its own.

python eval.py --checkpoint=runs/induction_heads
python eval.py --checkpoint=runs/induction_heads/two_layer/checkpoints/1000 --workdir=runs/eval/last
python eval.py --checkpoint=runs/dependency_parser --text=FILE
python eval.py --experiment=induction_heads --hf_checkpoint=DIR --text=FILE
"""

import shlex
import sys
import time

from absl import flags
from etils import epath

from training import command
from training.experiment import UserError
from training.progress import say

FLAGS = flags.FLAGS
PRETRAINED = "induction_heads"  # the experiment whose probes examine pretrained models
flags.DEFINE_string("checkpoint", None, "a workdir of train.py, an arm's folder in it, or one step's checkpoint")
flags.DEFINE_string("workdir", None, "where the report is written; default runs/eval/NAME. Nothing else is written")
flags.DEFINE_string("experiment", None, f"{PRETRAINED}, which examines every attention head; goes with --hf_checkpoint")
flags.DEFINE_string("hf_checkpoint", None, "a folder with config.json and safetensors; several, or a pattern: a series")
# What the trained arms of some experiments answer: training.experiment.Experiment.queries.
QUERIES = (
    flags.DEFINE_string("text", None, "a file for the trained arm, such as a text to parse; or for --hf_checkpoint"),
)
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)


def main(argv):
    start = time.monotonic()
    if bool(FLAGS.checkpoint) == bool(FLAGS.hf_checkpoint):
        raise UserError("give either --checkpoint=DIR, a run of train.py, or --hf_checkpoint=DIR, a pretrained model")
    if FLAGS.hf_checkpoint:
        examine_pretrained(start)
    elif FLAGS.experiment:
        raise UserError("--experiment goes with --hf_checkpoint; a run of train.py knows its own")
    elif (query := asked_query()) is not None:
        answer_query(query.name, query.value, start)
    else:
        examine_run(start)


def asked_query():
    """The flag of QUERIES that is set, or None; raises UserError where several are."""
    asked = [query for query in QUERIES if query.value is not None]
    if len(asked) > 1:
        raise UserError(f"ask one thing at a time: either --{asked[0].name} or --{asked[1].name}")
    return asked[0] if asked else None


def examine_run(start):
    """Evaluates, probes and judges a run of train.py anew."""
    from experiments import trained_arms
    from reporting import report
    from training import run, workdirs

    source = trained_arms.find_run(FLAGS.checkpoint)
    name, experiment, arms = source.name, source.experiment, [source.arm] if source.arm else None
    workdir = output_folder(name, source.workdir)
    results = run.evaluate(experiment, source.record, source.workdir, arms, source.step)
    workdir = workdirs.make_folder(workdir)
    workdirs.write_json(workdir / "metrics.json", run.metrics_of(results))
    workdirs.save_results(workdir, results)
    for arm, result in results.items():
        workdirs.write_outputs(workdir / arm, result)
    facts = workdirs.facts() | {"examined": str(FLAGS.checkpoint)}
    print(report.write(workdir, name, experiment, results, command=typed_command(), facts=facts, start=start))
    print(f"report: {workdir}/report.html")


def answer_query(flag, value, start):
    """Prints what a trained arm answers to --FLAG=VALUE, and writes its files and a page of it."""
    from experiments import trained_arms
    from reporting import answers
    from training import workdirs

    source = trained_arms.find_run(FLAGS.checkpoint)
    workdir = output_folder(source.name, source.workdir)
    trained, answer = trained_arms.answer(source, flag, value)
    workdir = workdirs.make_folder(workdir)
    facts = workdirs.facts() | {"examined": str(FLAGS.checkpoint), "arm": trained.arm, "step": str(trained.step)}
    answers.write(
        workdir, answer, title=source.name, asked=f"--{flag}={value}", command=typed_command(), facts=facts, start=start
    )
    print(answer.text)
    for name in answer.files:
        print(f"{name}: {workdir / name}")
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
