"""`erase-concept compare`: several reports as one table and one chart."""

from __future__ import annotations

from pathlib import Path

from ui.cli.flags import PROGRAM, Parser


def compare(arguments: list[str]) -> int:
    """Compare runs and evaluations in one table, and plot how well they forget against how well they keep the rest."""
    example = f"example: {PROGRAM} compare runs/star-* --scatter forgetting.svg"
    parser = Parser(prog=f"{PROGRAM} compare", description=compare.__doc__, epilog=example)
    parser.add_argument("runs", nargs="+", type=Path, help="folders with a report.json")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="print JSON")
    kind.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--scatter", type=Path, help="write the chart to this .svg file")
    options = parser.parse_args(arguments)
    from erase.files import check_file, written

    if options.scatter is not None:
        check_file(options.scatter, "svg", "scatter")
    from erase.files.disk import disk_errors
    from eval.compare import as_csv, as_json, as_table, scatter_svg
    from eval.compare import compare as rows_of

    rows = rows_of(options.runs)
    print((as_json if options.json else as_csv if options.csv else as_table)(rows))
    if options.scatter is not None:
        with disk_errors(options.scatter, resumes=False), written(options.scatter) as part:
            part.write_text(scatter_svg(rows), encoding="utf-8")
    return 0
