"""Recurrent neural networks for PyTorch: write one step, train it, look inside it, stream it, ship it."""

from unrolled import cells as cells
from unrolled import errors as errors
from unrolled.bptt import Window as Window
from unrolled.bptt import truncated_bptt as truncated_bptt
from unrolled.engine.explain import Explanation as Explanation
from unrolled.engine.explain import explain as explain
from unrolled.layers import GRU as GRU
from unrolled.layers import LSTM as LSTM
from unrolled.layers import RNN as RNN
from unrolled.losses import sequence_loss as sequence_loss
from unrolled.scan import scan as scan
from unrolled.swap import SwapReport as SwapReport
from unrolled.swap import swap as swap
from unrolled.tasks.text import TextModel as TextModel
from unrolled.tasks.text import TextSettings as TextSettings
from unrolled.train import Job as Job
from unrolled.train import TrainResult as TrainResult
from unrolled.train import TrainSettings as TrainSettings
from unrolled.train import train as train
