"""The page that puts several runs side by side.

Inputs: their sources. Outputs: HTML in one piece: settings that differ, curves in one picture, metrics beside the
baselines, and which differences are no more than chance.
"""

import itertools
from collections.abc import Iterator, Sequence

from unrolled.errors import UnrolledError
from unrolled.json_values import JsonObject, table, texts
from unrolled.markup import Line
from unrolled.pages import again, of_run, speed
from unrolled.pages.source import DAMAGED, Source, column
from unrolled.report.comparison import LEAST_BLOCKS, PairedCounts, collected_counts
from unrolled.report.html import charts, elements
from unrolled.report.html.charts import Axis
from unrolled.report.html.elements import TONES
from unrolled.report.html.page import Section, document

_ABSENT = "—"


def page(sources: Sequence[Source]) -> str:
    """The page of several runs."""
    names = _names(sources)
    differences = list(_differences(sources, names))
    sections = [
        Section("Which differences count", elements.paragraph(_HOW, "dim") + _listed(differences)),
        Section("Metrics", _metrics(sources, names)),
        Section("How they learned", _curves(sources, names)),
        Section("What differs", _settings(sources, names)),
        Section("Do it again", elements.commands(_again(sources))),
    ]
    missing = [f"{name}: {each}" for name, found in zip(names, sources, strict=True) for each in found.missing]
    n_clear = sum(" is better than " in each for each in differences)
    counted = f"{n_clear} of {len(differences)} pairs differ by more than chance."
    lead = elements.paragraph(differences[0] if len(differences) == 1 else counted, "verdict")
    if missing:
        lead += (
            "<p>Missing here:</p>"
            + f'<ul class="dim">{"".join(f"<li>{elements.text(each)}</li>" for each in missing)}</ul>'
        )
    return document(f"{len(sources)} runs side by side", lead, sections, foot=of_run.foot())


_HOW = (
    "Models are compared on the same examples by a paired test; p is how often a difference as large comes by chance "
    "where two models are equally good, times the number of pairs that are compared here."
)


def _names(sources: Sequence[Source]) -> list[str]:
    """Names that tell the runs apart: of their folders, or whole paths where those are the same."""
    names = [found.name for found in sources]
    if len(set(names)) < len(names):
        names = [str(found.path) for found in sources]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _listed(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{elements.text(each, 1000)}</li>' for each in sentences)}</ul>"


def _differences(sources: Sequence[Source], names: Sequence[str]) -> Iterator[str]:
    """A sentence for each pair of runs."""
    counted = [_counts(found) for found in sources]
    pairs = list(itertools.combinations(range(len(sources)), 2))
    for i, j in pairs:
        first, second = counted[i], counted[j]
        if reason := _why_not(sources[i], sources[j], first, second):
            yield f"{names[i]} and {names[j]} cannot be compared: {reason}."
            continue
        assert first is not None
        assert second is not None
        yield _sentence(sources[i], first, second, (names[i], names[j]), len(pairs))


def _why_not(one: Source, other: Source, first: PairedCounts | None, second: PairedCounts | None) -> str:
    """Why two runs cannot be compared, in words; empty where they can."""
    if one.task != other.task:
        return f"they are of the tasks {one.task} and {other.task}"
    if first is None or second is None:
        return "one has no examples to be judged on; --data FILE gives them"
    if not one.files and _part(one) != _part(other):
        return "they were validated on other examples; --data FILE judges both on the same"
    if first.beside(second, "") is None:
        return "their metrics or their examples are not the same"
    return ""


def _part(found: Source) -> tuple[object, ...]:
    """What tells which examples a run was validated on."""
    config: JsonObject = found.run.config if found.run is not None else {}
    settings, train = (table(config.get(part, {})) for part in ("settings", "train"))
    cut = tuple(settings.get(name) for name in ("validation", "test", "stride"))
    return config.get("sha256"), train.get("seed"), cut, bool(config.get("valid"))


def _sentence(found: Source, first: PairedCounts, second: PairedCounts, names: tuple[str, str], n_pairs: int) -> str:
    """Which of two models is the better one, if that is more than chance."""
    beside = first.beside(second, names[1])
    assert beside is not None
    report = found.report
    in_words = report.in_words if report is not None else elements.number
    p = min(1.0, beside.p * n_pairs)
    metrics = f"{beside.metric} {in_words(beside.model)} against {in_words(beside.baseline)}"
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    if not beside.can_tell:
        return (
            f"{names[0]} and {names[1]}: too few {beside.of} to tell them apart ({metrics}; a difference can show from "
            f"{LEAST_BLOCKS} on)."
        )
    if p > 0.05 or beside.gain == 0:
        return (
            f"{names[0]} and {names[1]} differ by no more than chance: {metrics} ({shown}, {beside.n:,} {beside.of})."
        )
    better, worse = names if beside.gain > 0 else names[::-1]
    metrics = (
        metrics if beside.gain > 0 else f"{beside.metric} {in_words(beside.baseline)} against {in_words(beside.model)}"
    )
    return f"{better} is better than {worse}: {metrics} ({shown}, {beside.n:,} {beside.of})."


def _counts(found: Source) -> PairedCounts | None:
    """A model's counts on its examples; None where there are none, or it cannot be judged."""
    if found.model is None or found.is_on or found.held is None:
        return None
    try:
        with collected_counts() as kept:
            found.model.evaluate(found.held)
    except UnrolledError as fault:
        found.missing.append(f"it cannot be judged: {fault}")
    except DAMAGED as fault:
        found.missing.append(f"it cannot be judged: {type(fault).__name__}: {fault}")
    return kept[-1] if kept else None


def _metrics(sources: Sequence[Source], names: Sequence[str]) -> str:
    """The metric that decides of each, as its training left it, beside its baseline's."""
    rows = []
    for name, found in zip(names, sources, strict=True):
        report = found.report
        if report is None:
            rows.append((name, found.task, "not judged", *[""] * 3))
            continue
        beside = report.comparison()
        shown = report.in_words(beside.model), report.in_words(beside.baseline)
        rows.append((name, found.task, beside.metric, *shown, f"{beside.verdict} {beside.name}"))
    head = ("run", "task", "metric", "model", "baseline", "the model ...")
    times = [
        (name, *speed.facts(found.record, found.training).values()) for name, found in zip(names, sources, strict=True)
    ]
    width = max(map(len, times))
    times = [(*row, *[""] * (width - len(row))) for row in times]
    heads = ("run", "trained", "updates a second", "items a second")[:width]
    whole = elements.table(head, rows, "metrics as the trainings left them")
    return whole + (elements.table(heads, times, "speed of the trainings") if width > 1 else "")


def _curves(sources: Sequence[Source], names: Sequence[str]) -> str:
    """Curves of the same metric in one picture, with the baselines as lines; a picture a metric."""
    pictures: dict[tuple[str, str], list[int]] = {}
    for i, found in enumerate(sources):
        pictures.setdefault((found.curve.metric, found.curve.label), []).append(i)
    drawn = ""
    for (metric, label), places in pictures.items():
        lines, baselines = [], {}
        for i in places:
            steps, values = column(sources[i].record, metric)
            if not steps:
                continue
            lines.append(Line(names[i], steps, values, TONES[i % len(TONES)]))
            if isinstance(baseline := sources[i].curve.baseline, int | float) and baseline == baseline:
                baselines[round(float(baseline), 9), sources[i].curve.name] = steps
        most = [step for line in lines for step in line.x]
        lines += [charts.baseline_line(name, most, value) for value, name in baselines]
        drawn += charts.curves(lines, of_run.UPDATES, Axis(label), caption=of_run.caption_of(label))
        losses = [(names[i], *column(sources[i].record, "train_loss"), TONES[i % len(TONES)]) for i in places]
        of_losses = [Line(name, steps, values, tone) for name, steps, values, tone in losses if len(steps) > 1]
        drawn += charts.curves(of_losses, of_run.UPDATES, Axis("loss"), caption="training loss")
    return f'<div class="grid">{drawn}</div>'


def _settings(sources: Sequence[Source], names: Sequence[str]) -> str:
    """Settings, files and versions that are not the same in all, a column a run."""
    parts = [_known(found) for found in sources]
    rows = []
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [_ABSENT if part.get(name) in (None, "") else str(part[name]) for part in parts]
        if len(set(values)) > 1:
            rows.append((name, *values))
    if not rows:
        return elements.paragraph("Nothing: the same files, the same settings.")
    return elements.table(("", *names), rows, "settings that differ")


def _known(found: Source) -> JsonObject:
    """All settings of a run by name."""
    config: JsonObject = found.run.config if found.run is not None else {}
    of_training = {name: value for name, value in found.training.items() if not isinstance(value, dict | list)}
    files = {"files": "; ".join(texts(config["files"]))} if config.get("files") else {}
    return {"task": found.task, **files, **found.settings, **of_training}


def _again(sources: Sequence[Source]) -> list[str]:
    return [again.train_command(found) for found in sources if found.run is not None] + [
        again.report_command([found.path for found in sources], sources[0].files, sources[0].reading)
    ]
