"""What does the transducer's loss cost beside CTC's? `python -m benchmarks.transducer`, forward and backward.

From what was heard to the gradients, with the layers that each loss needs on top: for CTC one product, for the
transducer predictor, joiner and lattice. Memory is what a process takes at its peak over what it had before. Shapes:
batch, steps, labels; 30 classes.
"""

import argparse
import resource
import subprocess
import sys
import threading

import torch

from benchmarks.harness import append, interleaved, quartiles
from unrolled.tasks.transcribe.net import SpeechNet, SpeechNetSettings

SHAPES = ((16, 50, 8), (16, 120, 25), (16, 300, 60), (8, 1000, 200))
CLASSES = 30


def losses(shape):
    """Each loss as a function that runs it forward and backward."""
    n_rows, n_steps, n_labels = shape
    torch.manual_seed(0)
    labels = torch.randint(1, CLASSES, (n_rows, n_labels))
    lengths, n = torch.full((n_rows,), n_steps), torch.full((n_rows,), n_labels)
    found = {}
    for loss in ("ctc", "transducer"):
        settings = SpeechNetSettings(loss=loss, direction="forward", dropout=0.0)
        net = SpeechNet(CLASSES, settings)
        outputs = torch.randn(n_steps, n_rows, settings.hidden)
        net.encode = lambda steps, _, net=net: net._heard(steps)  # the encoder is the same for both

        def run(net=net, outputs=outputs):
            net.zero_grad()
            net(outputs, lengths, labels, n).backward()

        found[loss] = run
    return found


def peak_mb(shape, loss):
    """Peak memory over what the process had before, in a process of its own."""
    program = f"from benchmarks import transducer as t; t.alone({shape}, {loss!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def alone(shape, loss):
    run = losses(shape)[loss]
    losses((1, 2, shape[2]))[loss]()  # what is loaded and compiled at first use is not of the loss
    before, peak, is_over = resident_mb(), [0.0], threading.Event()

    def watch():
        while not is_over.wait(0.0005):
            peak[0] = max(peak[0], resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        run()
    is_over.set()
    watcher.join()
    print(max(0.0, peak[0] - before))


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    rows = []
    for shape in SHAPES:
        for name, seconds in interleaved(losses(shape), rounds=7).items():
            row = {"shape": "x".join(map(str, shape)), "loss": name, "peak_mb": round(peak_mb(shape, name))}
            rows.append(row | quartiles(seconds))
            print(f"{row['shape']} {name}: {1e3 * rows[-1]['median_s']:.1f} ms, {row['peak_mb']} MB", flush=True)
    append("transducer", rows)


if __name__ == "__main__":
    main()
