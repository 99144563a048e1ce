"""`erase-concept evaluate`: measure a model against its original."""

from __future__ import annotations

import argparse
import json

from erase.errors import InputError
from eval.measurement.report_file import read_report
from ui.cli.display import Display, quiet_libraries, results
from ui.cli.flags import PROGRAM, Parser, add_flags


def evaluate(arguments: list[str]) -> int:
    """Measure a finished run again, or any model against its original, by the concept's prompts or a named protocol."""
    from eval.options import Evaluation

    examples = f"""examples:
  {PROGRAM} evaluate runs/star-demo-scissorhands-1                        the run's own images again
  {PROGRAM} evaluate runs/star-demo-scissorhands-1 --protocol demo        new images, as the protocol says
  {PROGRAM} evaluate ./erased --original CompVis/stable-diffusion-v1-4 --concept nudity --protocol i2p-nudity --prompts i2p.csv
  {PROGRAM} evaluate runs/star-demo-scissorhands-1 --lora star.safetensors --strength 0.5
  {PROGRAM} evaluate --before pictures/a --after pictures/b --concept nudity"""
    parser = Parser(
        prog=f"{PROGRAM} evaluate", description=evaluate.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="", help="a run folder, a pipeline folder, a .safetensors checkpoint, or a hub name")
    add_flags(parser, Evaluation, skip=("model",))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    values = vars(parser.parse_args(arguments))
    as_json = values.pop("json")
    job = Evaluation(**{name: value for name, value in values.items() if value is not None})
    if not job.model and job.before is None and job.lora is None:
        message = "nothing to measure; give a run folder, a model, or two folders of images with --before and --after"
        raise InputError(message, option="model")
    from erase.pipeline.job import Event
    from erase.processes import processes
    from eval.evaluate import evaluate as measure
    from eval.report import table

    quiet_libraries()
    with Display() as display:
        folder = measure(job, lambda stage, done, total: display(Event(stage, done, total)))
    if processes()[0] > 0:
        return 0
    report = read_report(folder / "report.json")
    print(json.dumps(report, indent=1, ensure_ascii=False) if as_json else f"{table(report)}\n\n{results(folder)}")
    return 0
