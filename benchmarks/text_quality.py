"""How well does the text task learn in so many minutes? Trains by the command line and keeps the figure.

    python -m benchmarks.text_quality FILE --minutes 15
    python -m benchmarks.text_quality FILE --minutes 15 --of RUN     # keeps the figure of a run that this command made

FILE for the project's figures: Tiny Shakespeare, 1,115,394 characters; first 90 % to learn from, last 10 % validation.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import append
from unrolled import TextModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", default="15")
    parser.add_argument("--of", type=Path, help="folder of a finished run of this command")
    parser.add_argument("options", nargs="*", help="further options of `unrolled train text`, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = ["unrolled", "train", "text", str(given.file), "--minutes", given.minutes, *given.options]
        if given.of is None:
            subprocess.run([sys.executable, "-m", *command, "--folder", f"{folder}/run"], check=True)
        model = TextModel.load(f"{given.of or f'{folder}/run'}/model.safetensors")
    if model.training["minutes"] != float(given.minutes) or Path(model.training["data"]).name != given.file.name:
        raise SystemExit(f"{given.of}: is not a run of that command")
    shown = " ".join(["unrolled", "train", "text", given.file.name, "--minutes", given.minutes, *given.options])
    last = model.record[-1]
    row = {"command": shown, "nats_per_char": round(model.metrics["nats"], 4)}
    row |= {"baseline_nats_per_char": round(model.metrics["baseline_nats"], 4), "steps": last["step"]}
    append("text_quality", [row | {"seconds": last["seconds"], "precision": model.training["precision"]}])


if __name__ == "__main__":
    main()
