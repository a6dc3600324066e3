"""Do intents gain by the sum with naive Bayes on sentences unlike those of the training?
`python -m benchmarks.intent_sum ATIS_FOLDER [--held cities|long] [--minutes 10]`.

A part of the training sentences is held out: those with a third of the cities, or the longest quarter. One network is
trained on the others, its weights in the sum are fitted on the validation part, and the part that was held out is
judged with the sum and without. The test part is not touched. Rows are appended to results/intent_sum.csv.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import unrolled
from benchmarks.harness import append
from benchmarks.training import trained
from unrolled.data.intents import read_intents
from unrolled.tasks.blend import blended


def of_cities(data):
    """Which sentences have one of a third of the cities, drawn by a seed."""
    names = [
        {word for word, tag in zip(words, tags, strict=True) if "city_name" in tag}
        for words, tags in zip(data.tagged.sentences, data.tagged.tags, strict=True)
    ]
    every = sorted(set().union(*names))
    np.random.default_rng(0).shuffle(every)
    held = set(every[: len(every) // 3])
    return np.array([bool(each & held) for each in names])


def of_long(data):
    """Which sentences are of the longest quarter or so."""
    lengths = np.array([len(words) for words in data.tagged.sentences])
    return lengths > np.quantile(lengths, 0.7)


HELD = {"cities": of_cities, "long": of_long}


def accuracies(folder, name, minutes, seed):
    data = read_intents([folder / "train"])
    is_held = HELD[name](data)
    held, learnt = (data.part(np.flatnonzero(each).tolist()) for each in (is_held, ~is_held))
    model = unrolled.UnderstandModel(unrolled.UnderstandSettings(hidden=200, layers=2))
    trained(model, learnt, minutes, seed, read_intents([folder / "valid"]), patience=0)
    weights, (intents, _) = model.fitted.weights, model._read(held.tagged.sentences)
    network, baseline, targets = model._scores(held, intents)
    scores = {"network": network, "baseline": baseline, "sum": blended(network, baseline, weights)}
    right = targets.argmax(1)
    found = {who: 100 * float((each.argmax(1) == right).float().mean()) for who, each in scores.items()}
    return {"held": name, "n": len(held), "weights": str([round(each, 3) for each in weights]), **found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--held", choices=HELD, help="one of the two alone")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in [arguments.held] if arguments.held else HELD:
        row = accuracies(arguments.folder, name, arguments.minutes, arguments.seed)
        print(row, flush=True)
        append("intent_sum", [row | {"minutes": arguments.minutes, "seed": arguments.seed}])


if __name__ == "__main__":
    main()
