"""`erase-concept --concept NAME`: the main job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ui.cli.display import Display, results, shell_line
from ui.cli.flags import PROGRAM
from ui.cli.job_flags import main_job
from ui.cli.main import COMMANDS


def erase(arguments: list[str]) -> int:
    """Erase a concept: pictures, latents, erasing, export, before and after, report."""
    job, values, as_json = main_job(
        PROGRAM,
        arguments,
        description="Take a concept out of a text-to-image model, and show that it is gone.",
        epilog=f"""examples:
  {PROGRAM} --concept star                         the embedded model, minutes on a CPU
  {PROGRAM} --concept nudity --device cuda         Stable Diffusion v1.4 from the hub
  {PROGRAM} --concept "Van Gogh style" --model ./my-model --steps 200

other commands: {", ".join(COMMANDS)}; `{PROGRAM} COMMAND --help` explains each.""",
    )
    return _run(job, values, as_json)


def _run(job: Any, values: dict[str, Any], as_json: bool) -> int:
    from erase.checkpoints.model_card import write_card
    from erase.pipeline import erase_concept
    from erase.pipeline.job import Event
    from erase.processes import processes
    from eval.rendering.verdict import card
    from eval.report import evaluate_locked, table

    with Display() as display:
        folder = erase_concept(job, values, display)
        if processes()[0] > 0:  # measuring is little work beside drawing: the first process does it
            return 0
        report = evaluate_locked(folder, lambda done, total: display(Event("measure", done, total, folder=folder)))
    write_card(folder / "model", card(report))
    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    print(table(report))
    print(f"\n{results(folder)}\nmodel     {folder / 'model'}")
    print(f"\nnext: {shell_line(PROGRAM, 'generate', folder / 'model', '--prompt', _example(folder), '--output', 'pictures')}")
    return 0


def _example(folder: Path) -> str:
    from erase.run import read_lines

    rows = read_lines(folder / "samples" / "prompts.jsonl")
    return str(rows[0]["text"]) if rows else "a picture"
