"""Recurrent neural networks for PyTorch: write one step, train it, look inside it, stream it, ship it."""

import unrolled_command.module  # noqa: F401 - first: `python -m unrolled --help` ends here, before torch is loaded
from unrolled import cells as cells
from unrolled import errors as errors
from unrolled.engine.explain import Explanation as Explanation
from unrolled.explain import explain as explain
from unrolled.insight.attribution import Attribution as Attribution
from unrolled.insight.attribution import attribute as attribute
from unrolled.insight.checkup import checkup as checkup
from unrolled.insight.diagnosis import Checkup as Checkup
from unrolled.insight.diagnosis import Finding as Finding
from unrolled.insight.probe import probe as probe
from unrolled.insight.record import Gate as Gate
from unrolled.insight.record import Record as Record
from unrolled.insight.record import ScanRecord as ScanRecord
from unrolled.insight.record import Trouble as Trouble
from unrolled.insight.units import Follower as Follower
from unrolled.insight.units import UnitActivity as UnitActivity
from unrolled.nn.bptt import Window as Window
from unrolled.nn.bptt import truncated_bptt as truncated_bptt
from unrolled.nn.losses import sequence_loss as sequence_loss
from unrolled.nn.recurrent import Recurrent as Recurrent
from unrolled.nn.swap import SwapReport as SwapReport
from unrolled.nn.swap import swap as swap
from unrolled.nn.swap import unswap as unswap
from unrolled.nn.torch_layers import GRU as GRU
from unrolled.nn.torch_layers import LSTM as LSTM
from unrolled.nn.torch_layers import RNN as RNN
from unrolled.scan import scan as scan
from unrolled.tasks import load as load
from unrolled.tasks.classify.model import ClassifyModel as ClassifyModel
from unrolled.tasks.classify.settings import ClassifySettings as ClassifySettings
from unrolled.tasks.forecast.model import ForecastModel as ForecastModel
from unrolled.tasks.forecast.settings import ForecastSettings as ForecastSettings
from unrolled.tasks.regress.model import RegressModel as RegressModel
from unrolled.tasks.regress.settings import RegressSettings as RegressSettings
from unrolled.tasks.tag.model import TagModel as TagModel
from unrolled.tasks.tag.settings import TagSettings as TagSettings
from unrolled.tasks.text.model import TextModel as TextModel
from unrolled.tasks.text.settings import TextSettings as TextSettings
from unrolled.tasks.transcribe.model import TranscribeModel as TranscribeModel
from unrolled.tasks.transcribe.settings import TranscribeSettings as TranscribeSettings
from unrolled.tasks.transcribe.stream import Stream as Stream
from unrolled.tasks.translate.model import TranslateModel as TranslateModel
from unrolled.tasks.translate.settings import TranslateSettings as TranslateSettings
from unrolled.tasks.understand.model import UnderstandModel as UnderstandModel
from unrolled.tasks.understand.settings import UnderstandSettings as UnderstandSettings
from unrolled.training.display import Display as Display
from unrolled.training.job import Job as Job
from unrolled.training.job import TrainResult as TrainResult
from unrolled.training.loop import train as train
from unrolled.training.settings import TrainSettings as TrainSettings

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attribution",
    "Checkup",
    "ClassifyModel",
    "ClassifySettings",
    "Display",
    "Explanation",
    "Finding",
    "Follower",
    "ForecastModel",
    "ForecastSettings",
    "Gate",
    "Job",
    "Record",
    "Recurrent",
    "RegressModel",
    "RegressSettings",
    "ScanRecord",
    "Stream",
    "SwapReport",
    "TagModel",
    "TagSettings",
    "TextModel",
    "TextSettings",
    "TrainResult",
    "TrainSettings",
    "TranscribeModel",
    "TranscribeSettings",
    "TranslateModel",
    "TranslateSettings",
    "Trouble",
    "UnderstandModel",
    "UnderstandSettings",
    "UnitActivity",
    "Window",
    "__version__",
    "attribute",
    "cells",
    "checkup",
    "errors",
    "explain",
    "load",
    "probe",
    "scan",
    "sequence_loss",
    "swap",
    "train",
    "truncated_bptt",
    "unswap",
]
