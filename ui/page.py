"""Finished runs in a web page: before and after side by side, the numbers, the settings. Reads run folders, changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from erase.run import Run, list_runs
from erase.task import InputError
from eval.report import table

# --- handlers: plain functions --------------------------------------------------------------------------------------


def finished(root: Path) -> list[str]:
    """Names of the runs in `root` that have a report, newest last."""
    folders = [folder for folder in list_runs(root) if (folder / "report.json").is_file()]
    return [folder.name for folder in sorted(folders, key=lambda folder: (folder / "report.json").stat().st_mtime)]


def show(root: Path, name: str | None) -> tuple[str | None, str, dict[str, Any]]:
    """A run's comparison sheet, its table and its options; only names that `finished` lists are opened."""
    if not name:
        return None, "No finished run here yet. In a terminal: erase-concept --concept star", {}
    if name not in finished(root):
        raise InputError(f"{name!r} is not a finished run in {root}")
    run = Run.read(root / name)
    report = json.loads(run.report.read_text(encoding="utf-8"))
    return (
        str(run.comparison),
        table(report),
        {"method": run.options["method"], "preset": run.options["preset"], **run.options["method_options"]},
    )


# --- layout and wiring ----------------------------------------------------------------------------------------------


def build(root: Path) -> Any:
    """The page as gradio Blocks."""
    import gradio as gr

    names = finished(root)
    with gr.Blocks(title="erase-concept") as page:
        gr.Markdown("# erase-concept\nThe same prompts and seeds, drawn by the original model and by the erased one.")
        choice = gr.Dropdown(names, value=names[-1] if names else None, label="run", info="finished runs in the runs folder, newest last")
        sheet = gr.Image(label="original above erased", type="filepath", interactive=False)
        numbers = gr.Code(label="report", interactive=False, language=None)
        options = gr.JSON(label="options of the method")

        def refresh(name: str | None) -> tuple[str | None, str, dict[str, Any]]:
            return show(root, name)

        def again() -> Any:
            found = finished(root)
            return gr.Dropdown(choices=found, value=found[-1] if found else None)

        page.load(again, None, choice, api_visibility="private")
        choice.change(refresh, choice, [sheet, numbers, options], api_visibility="private")
        page.load(refresh, choice, [sheet, numbers, options], api_visibility="private")
    return page


def serve(root: Path, port: int | None = None) -> None:
    """Open the page on this machine only (loopback)."""
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise InputError('the web page needs gradio; install it with: pip install "erase-concept[ui]"') from None
    build(root).launch(server_name="127.0.0.1", server_port=port, allowed_paths=[str(root.resolve())], share=False)
