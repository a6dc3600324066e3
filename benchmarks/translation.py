"""How good is translation on Multi30k? `python -m benchmarks.translation DATA [de-en | en-de]... [--model FILE]`.

Trains on the training part for an hour, chooses weights on the validation part, and touches test 2016 once: BLEU of
greedy and of beam search. de-en: raw files, cased; figures on lower-cased tokens as spaCy cuts them, and sacrebleu's
own 13a. en-de: tokenized lower-case files, figures on their tokens. With --model it measures a model that
`unrolled train translate` made. Rows are appended to results/translation.csv.
"""

import argparse
import re
from pathlib import Path

import torch

import unrolled
from benchmarks.harness import append
from benchmarks.training import trained

MINUTES = 60
FORMS = {"de-en": ("de", "en", ""), "en-de": ("en", "de", ".lc.norm.tok")}
# chosen on the validation parts; see docs/design/translation.md
SETTINGS: dict[str, dict[str, object]] = {"de-en": {"words": 256, "subwords": 8000}, "en-de": {}}
PRECISION = {"de-en": "float32", "en-de": "bfloat16"}
_TOKEN = re.compile(r"\w+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+|[^\w\s]")


def files(data, question, part):
    source, target, suffix = FORMS[question]
    return [data / "multi30k" / f"{part}{suffix}.{language}" for language in (source, target)]


def tokens(text):
    """Lower-cased, punctuation and clitics apart, as spaCy's English does."""
    return " ".join(_TOKEN.findall(text.lower()))


def bleu(found, targets, **options):
    from sacrebleu.metrics import BLEU

    measure = BLEU(**options, force=True)
    return measure.corpus_score(found, [targets]).score, str(measure.get_signature())


def figures(model, question, test):
    """Name, BLEU, the dictionary's BLEU, signature."""
    by_words = [model._word_by_word(text) for text in test.sources]
    for beam in (1, 5, 12):
        found = model.translate(test.sources, beam=beam)
        name = "greedy" if beam == 1 else f"beam {beam}"
        if question == "de-en":
            wanted = [tokens(text) for text in test.targets]
            cut = [[tokens(text) for text in each] for each in (found, by_words)]
            (value, signature), (baseline, _) = (bleu(each, wanted, tokenize="none") for each in cut)
            yield f"{name}, lower-cased tokens", value, baseline, signature
            (value, signature), (baseline, _) = (bleu(each, test.targets) for each in (found, by_words))
            yield f"{name}, 13a cased", value, baseline, signature
        else:
            # the baseline's marks stand as in its tokens
            by_words = [" ".join(re.findall(r"[\w'@-]+|[^\w\s]", text)) for text in by_words]
            (value, signature), (baseline, _) = (
                bleu(each, test.targets, tokenize="none") for each in (found, by_words)
            )
            yield f"{name}, tokens", value, baseline, signature


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("questions", nargs="*", choices=[[], *FORMS], default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for question in arguments.questions or FORMS:
        if arguments.model:
            model = unrolled.TranslateModel.load(arguments.model)
            seconds = model.record[-1]["seconds"]
        else:
            model = unrolled.TranslateModel(unrolled.TranslateSettings(**SETTINGS[question]))
            parts = [files(arguments.data, question, part) for part in ("train", "val")]
            training = {"precision": PRECISION[question]}
            seconds = trained(model, parts[0], arguments.minutes, 0, valid=parts[1], average=0.998, **training)
        test = model.read(files(arguments.data, question, "test_2016_flickr"))
        defaults = unrolled.TranslateSettings().to_dict()
        settings = {name: value for name, value in model.settings.to_dict().items() if value != defaults[name]}
        settings["precision"] = model.training["precision"]
        n_weights = sum(each.numel() for each in model.net.parameters())
        rows = []
        for name, value, baseline, signature in figures(model, question, test):
            print(f"{question} {name}: BLEU {value:.2f}, dictionary {baseline:.2f}, {n_weights:,} weights", flush=True)
            rows.append(
                {"question": question, "figure": name, "value": value, "baseline": baseline, "weights": n_weights}
                | {"seconds": round(seconds), "settings": str(settings), "signature": signature}
            )
        append("translation", rows)


if __name__ == "__main__":
    main()
