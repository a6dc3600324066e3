"""What a user chooses for a forecast."""

from dataclasses import dataclass

from unrolled.baselines import series as baselines
from unrolled.data.series_builder import DUPLICATES
from unrolled.settings import option
from unrolled.tasks.forecast.net import ForecastNetSettings

ANSWERS = ("best", "model", *baselines.NAMES)


@dataclass(frozen=True)
class ForecastSettings(ForecastNetSettings):
    """What is forecast from what, how, and who answers."""

    target: str | None = option(
        None, "column to forecast; several with commas; '*' for all  [the one of numbers]", reads="inputs"
    )
    horizon: int = option(24, "steps to forecast", least=1, most=10**5, with_start="fixed")
    time: str | None = option(
        None,
        "column with the time stamps; several that make one, with commas; 'row': none  [guessed]",
        reads="inputs",
    )
    day_first: bool | None = option(
        None,
        "whether 01/02/2010 is in February  [what makes the stamps regular]",
        against="month-first",
        with_start="new",
        reads="inputs",
    )
    time_format: str = option(
        "", "form of the stamps, such as '%d.%m.%y %H:%M'  [guessed]", with_start="new", reads="inputs"
    )
    zone: str = option(
        "",
        "the place whose clock the stamps show, such as Europe/Berlin, for changes to summer time",
        with_start="new",
        reads="inputs",
    )
    duplicates: str = option("refuse", "what becomes of rows with the same stamp", choices=DUPLICATES, reads="inputs")
    max_missing: float = option(
        0.3, "share of a series that may be missing, and is drawn between", least=0, most=1, reads="inputs"
    )
    missing: str = option(
        "",
        "what stands for a missing value, such as -200; several with commas  [NA, null, - and the like]",
        with_start="new",
        reads="inputs",
    )
    series: str | None = option(
        None,
        "column that tells series apart, in a table with many below each other; several with commas",
        reads="inputs",
    )
    future: str = option("", "covariates known in advance, numbers or kinds such as holidays, with commas between")
    past: str = option("", "covariates known for the past alone, likewise")
    static: str = option("", "columns of one value a series, with commas between")
    thousands: str = option(
        "", "what groups thousands in numbers  [told from the column]", with_start="new", reads="inputs"
    )
    decimal: str | None = option(
        None,
        "decimal mark of numbers  [told from the column]",
        choices=(",", "."),
        with_start="new",
        reads="inputs",
    )
    header: bool | None = option(
        None,
        "whether a table's first line names the columns  [yes; refused if it looks like data]",
        with_start="new",
        reads="inputs",
    )
    season: int | None = option(
        None,
        "steps after which values come again  [of the frequency, if it occurs twice]",
        least=1,
        most=10**6,
        with_start="fixed",
    )
    context: int | None = option(
        None,
        "steps that a forecast is made from  [7 days of hours, 2 seasons, 2 horizons]",
        least=2,
        most=10**6,
        with_start="fixed",
    )
    scaling: str = option(
        "window",
        "what a window's values are measured in: its own spread, or its series'",
        choices=("window", "series"),
        with_start="fixed",
    )
    validation: float = option(
        0.1, "share of each series, before the test part, kept for validation", above=0, most=0.5
    )
    test: float = option(0.1, "share of each series, its end, for the backtest at the end; 0: none", least=0, most=0.5)
    stride: int | None = option(None, "steps between the backtest's origins  [the horizon]", least=1, most=10**6)
    below_zero: str = option(
        "guess", "whether a forecast may be negative  [where its series was]", choices=("guess", "yes", "no")
    )
    answer: str = option("best", "who answers: the best on the validation part, or a named one", choices=ANSWERS)
    batch: int = option(64, "windows of an update", least=1, most=10**6)
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")
