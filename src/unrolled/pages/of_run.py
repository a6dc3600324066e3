"""The page of one run or model.

Inputs: a `Source`. Outputs: HTML in one piece: the verdict, learning curves beside the baseline, the task's own
pictures, the check-up, what was trained on what, speed, and the commands.
"""

import datetime
from collections.abc import Iterator, Sequence

from unrolled import tasks
from unrolled.errors import UnrolledError
from unrolled.json_values import JsonObject, texts
from unrolled.markup import Line
from unrolled.pages import again, checked, speed
from unrolled.pages.source import DAMAGED, LoggedRow, Source, column
from unrolled.report.html import charts, elements
from unrolled.report.html.charts import Axis
from unrolled.report.html.elements import TONES
from unrolled.report.html.page import Section, document
from unrolled.tasks.checkup import SYNTHETIC, checkup_of
from unrolled.tasks.fitted import versions
from unrolled.tasks.report import TaskReport
from unrolled.training.job import Curve

_MOST_ROWS = 200  # of the record
# columns of the log, one a layer, with their captions and units
_WATCHED = (
    ("half_life", "steps back in which a layer's gradient halves", "steps"),
    ("saturated", "share of a layer's gates that are saturated", "share"),
)
UPDATES = Axis("update", is_counted=True)
_OF_FOLDER = (
    "curve",
    "item",
    "items_per_step",
    "read_as",
    "start_notes",
    "versions",
)  # shown elsewhere, or for the page alone


def page(found: Source, *, is_watched: bool = False, is_checked: bool = True) -> str:
    """The page; while the training goes on it has no examples and no check-up, which would slow it down.

    Args:
        found: the run or model.
        is_watched: whether the page fetches itself anew.
        is_checked: whether the network gets a check-up, which takes seconds, of a large one minutes.
    """
    is_whole = not found.is_on
    report = _report_of(found)
    with speed.calls_of(found.model.net if found.model is not None and is_whole else None) as calls:
        shown = list(_exhibits(found, report)) if is_whole else []
    sections = [
        Section("How good it is", "" if report is None else _metrics(report)),
        Section("How it learned", learned(found)),
        *shown,
        _checkup(found) if is_whole and is_checked else Section(checked.TITLE, ""),
        Section("What was trained on what", _facts(found, report)),
        Section("Speed", _speed(found, calls)),
        Section("Do it again", elements.commands(again.commands(found))),
    ]
    purpose = tasks.task(found.task).HELP.purpose
    return document(
        f"{found.name}: {found.task}",
        elements.paragraph(purpose[:1].upper() + purpose[1:] + ".", "dim") + _lead(found, report),
        sections,
        foot=foot(),
        is_watched=is_watched,
    )


def foot() -> str:
    """Who wrote a page, and when."""
    from unrolled import __version__

    return f"Written by unrolled {__version__} on {datetime.date.today().isoformat()}."


def _report_of(found: Source) -> TaskReport | None:
    """The report, if its metrics are whole."""
    report = found.report
    if report is None:
        return None
    try:
        report.table()
        report.verdict()
    except (*DAMAGED, UnrolledError) as fault:
        found.missing.append(f"its metrics are damaged: {type(fault).__name__}: {fault}")
        return None
    return report


def _lead(found: Source, report: TaskReport | None) -> str:
    """The verdict, or where the training stands; and what is missing."""
    said = ""
    if report is not None and not found.is_on:
        said = elements.paragraph(report.last_line(), "verdict")
    elif found.is_on:
        said = elements.paragraph("The training goes on.", "verdict")
    elif found.run is not None:
        said = elements.paragraph("The training did not end: the model has not been judged.", "verdict")
    else:
        said = elements.paragraph("The file has no comparison with a baseline: unrolled evaluate makes one.", "verdict")
    missing = "".join(f"<li>{elements.text(each)}</li>" for each in dict.fromkeys(found.missing))
    return said + (f'<p>Missing here:</p><ul class="dim">{missing}</ul>' if missing else "")


def _metrics(report: TaskReport) -> str:
    """The metric that decides, and the whole table folded."""
    beside = report.comparison()
    rows = [("model", report.in_words(beside.model)), (beside.name, report.in_words(beside.baseline))]
    part = report.metrics.get("part", "validation")
    whole = elements.preformatted(report.table(), "all metrics")
    return (
        elements.table(("", beside.metric), rows, "the metric that decides")
        + elements.paragraph(f"On the {part} part: {beside.evidence()}.", "dim")
        + elements.details("all metrics", whole)
    )


def learned(found: Source) -> str:
    """Learning curves beside the baseline, and the numbers folded."""
    curve, record = found.curve, found.record
    if not record:
        return elements.paragraph("No evaluation is recorded.")
    drawn = [_curve(found, curve)]
    steps, losses = column(record, "train_loss")
    if len(steps) > 1:
        line = Line("training loss", steps, losses, TONES[1])
        drawn.append(charts.curves([line], UPDATES, Axis("loss"), caption="training loss"))
    steps, norms = column(record, "gradient_norm")
    if len(steps) > 1:
        line, is_log = Line("gradient norm", steps, norms, TONES[3]), max(norms) > 20 * max(min(norms), 1e-30)
        y = Axis("norm", is_log=is_log)
        drawn.append(charts.curves([line], UPDATES, y, caption="norm of the gradient, before clipping"))
    drawn += [_by_layer(record, *each) for each in _WATCHED]
    names = list(dict.fromkeys(name for row in record for name in row))
    rows = [[row.get(name, "") for name in names] for row in record[-_MOST_ROWS:]]
    numbers = elements.table(names, rows, "evaluations")
    best = min(record, key=lambda row: _number(row.get("loss")))
    said = f"The best weights are those of update {_number(best['step']):,.0f}, of {_number(record[-1]['step']):,.0f}."
    return (
        elements.paragraph(said)
        + f'<div class="grid">{"".join(drawn)}</div>'
        + elements.details(f"the numbers of {len(record):,} evaluations", numbers)
    )


def _by_layer(record: Sequence[LoggedRow], quantity: str, caption: str, unit: str) -> str:
    """What `--watch-gradients` has noted of each layer, by update; nothing of a run without."""
    columns = dict.fromkeys(name for row in record for name in row if name.endswith(f"/{quantity}"))
    lines = []
    for name, tone in zip(columns, TONES, strict=False):  # as many as there are colors
        steps, values = column(record, name)
        lines.append(Line(name.removesuffix(f"/{quantity}"), steps, values, tone))
    return charts.curves(lines, UPDATES, Axis(unit, is_log=quantity == "half_life"), caption=caption)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value == value else float("inf")


def _curve(found: Source, curve: Curve) -> str:
    """The metric that decides by update, with the baseline as a line."""
    steps, values = column(found.record, curve.metric)
    if not steps:
        return ""
    lines = [Line("model", steps, values, TONES[0])]
    if isinstance(curve.baseline, int | float) and curve.baseline == curve.baseline:
        lines.append(charts.baseline_line(curve.name, steps, float(curve.baseline)))
    return charts.curves(lines, UPDATES, Axis(curve.label), caption=caption_of(curve.label))


def caption_of(label: str) -> str:
    """The caption of a metric's curve."""
    return label if "validation" in label else f"{label}, validation part"


def _exhibits(found: Source, report: TaskReport | None) -> Iterator[Section]:
    """The task's own pictures; what cannot be drawn is said, and is no reason to fail."""
    if report is None:
        return
    try:
        yield from report.exhibits(found.held)
    except UnrolledError as fault:
        found.missing.append(f"pictures: {fault}")
    except DAMAGED as fault:
        found.missing.append(f"pictures: {type(fault).__name__}: {fault}")


def _checkup(found: Source) -> Section:
    """What is wrong with the network; or why no check-up can run."""
    if found.model is None:
        return Section(checked.TITLE, "")
    on = SYNTHETIC if found.held is None else "the files given" if found.files else "the validation part"
    try:
        return checked.section(checkup_of(found.model, found.held), on)
    except (*DAMAGED, UnrolledError, RuntimeError) as fault:
        found.missing.append(f"no check-up: {str(fault).splitlines()[0] if str(fault) else type(fault).__name__}")
        return Section(checked.TITLE, "")


def _facts(found: Source, report: TaskReport | None) -> str:
    """Data, sizes, versions, and the settings, those that are not the usual ones first."""
    config, training = (found.run.config if found.run is not None else {}), found.training
    kind = tasks.task(found.task).Model
    amounts = {
        name: training[name]
        for name in ("data", "items", "n_examples", "n_series", "n_values", "start")
        if training.get(name) not in (None, "")
    }
    known: dict[str, object] = {
        "files": "; ".join(texts(config.get("files") or [])) or ("" if found.run is None else kind.source),
        "validated on": "; ".join(texts(config.get("valid") or [])),
        **{_in_words(name): value for name, value in amounts.items()},
        "sha256 of the files": str(config.get("sha256", ""))[:16],
        **(report.facts() if report is not None else {}),
    }
    if found.model is not None and found.model.net is not None:
        weights = list(found.model.net.parameters())
        size = sum(each.numel() * each.element_size() for each in weights) / 2**10
        known["network"] = f"{sum(each.numel() for each in weights):,} weights, {size:,.0f} KiB"
    known |= _versions(training)
    usual = kind().get_params()
    own = {name: value for name, value in found.settings.items() if value != usual.get(name)}
    shown = {name: value for name, value in training.items() if name not in (*_OF_FOLDER, *amounts)}
    return (
        elements.facts(known, "data and sizes")
        + elements.heading("Settings that are not the usual ones")
        + (elements.facts(own, "settings that are not the usual ones") or elements.paragraph("None.", "dim"))
        + elements.details("all settings of the model", elements.facts(found.settings, "settings of the model"))
        + elements.details("all settings of the training", elements.facts(shown, "settings of the training"))
    )


def _in_words(name: str) -> str:
    return {"n_examples": "examples", "n_series": "series", "n_values": "values", "start": "started from"}.get(
        name, name
    )


def _versions(training: JsonObject) -> dict[str, str]:
    """Of the training, if its file says so; else of the program that writes the page."""
    noted = training.get("versions")
    return {"trained with": str(noted)} if noted else {"read with": versions()}


def _speed(found: Source, calls: dict[str, speed.Call]) -> str:
    """How fast the training was, and which way its layers run here."""
    known = elements.facts(speed.facts(found.record, found.training), "speed of the training")
    if not calls:
        return known
    rows = speed.layers(calls)
    head = ("layer", "kind", "runs", "µs a step, forward", "why not fused")
    shown = head if any(row[4] for row in rows) else head[:4]
    words = "Its layers on this machine, measured on the examples above, as unrolled.explain tells it:"
    return (
        known + elements.paragraph(words, "dim") + elements.table(shown, [row[: len(shown)] for row in rows], "layers")
    )
