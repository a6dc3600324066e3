"""How long is one prediction from Python, the model loaded? `python -m benchmarks.latency`, on one item at a time.

Models of the default sizes on made-up data; a sentence of 20 words, and a forecast of 24 steps after one new value.
"""

import argparse
import itertools
import random

import numpy as np
import torch

import unrolled
from benchmarks.harness import append, interleaved, quartiles

BRIEF = unrolled.TrainSettings(steps=3, precision="float32")
SENTENCE = "book me the cheapest flight that leaves from boston in the morning and gets to denver before noon on monday"


def sentences(n):
    draw = random.Random(0)
    words = [*SENTENCE.split(), *(f"word{i}" for i in range(5000))]
    return [draw.choices(words, k=draw.randint(5, 25)) for _ in range(n)]


def rivals():
    texts = sentences(1000)
    tags = [["B-city" if i % 7 == 3 else "O" for i, _ in enumerate(words)] for words in texts]
    tagger = unrolled.TagModel()
    tagger.fit(texts, tags, train=BRIEF)
    classifier = unrolled.ClassifyModel()
    classifier.fit(
        [" ".join(words) for words in texts], ["up" if len(words) > 14 else "down" for words in texts], train=BRIEF
    )
    understander = unrolled.UnderstandModel()
    intents = [f"intent{i % 20}" for i in range(len(texts))]
    understander.fit(list(zip(texts, tags, intents, strict=True)), train=BRIEF)
    hours = np.arange(2000)
    load = 20 + 5 * np.sin(hours * 2 * np.pi / 24) + np.random.default_rng(0).normal(size=len(hours))
    forecaster = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=24, season=24, context=168, answer="model"))
    forecaster.fit(load, train=BRIEF)
    values = itertools.count(len(load) // 2)
    assert len(SENTENCE.split()) == 20
    return {
        "tag, 20 words": lambda: tagger.predict(SENTENCE),
        "classify, 20 words": lambda: classifier.predict(SENTENCE),
        "understand, 20 words": lambda: understander.predict(SENTENCE),
        "forecast, 24 steps": lambda: forecaster.predict(load[: next(values) % len(load)]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    rows = []
    for name, seconds in interleaved(rivals(), rounds=300, warm_up=30).items():
        rows.append({"question": name} | quartiles(seconds))
        print(f"{name}: {1e3 * rows[-1]['median_s']:.2f} ms")
    append("latency", rows)


if __name__ == "__main__":
    main()
