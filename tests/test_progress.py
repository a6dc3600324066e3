"""What a person sees: lines where there is no terminal, a bar where there is."""

import io
import re

from unrolled.training import display as progress

ROW = {"step": 20, "seconds": 3725.0, "train_loss": 1.5}


def test_plain_lines(monkeypatch):
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    stream = io.StringIO()
    display = progress.display_for(stream)
    assert type(display) is progress.PlainDisplay
    display.start(items_per_step=100, item="char")
    for step in range(1, 4):
        display.step(step, step / 10, step, 2.0, 0.5)
    display.evaluated(ROW, "1.400 nats/char", is_best=True)
    display.stop()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1: loss 2.000  gradient 0.50"  # of one step no speed is known
    assert re.match(r"step 3: loss 2\.000  gradient 0\.50  [\d,]+ chars/s  0:00 left$", lines[2])
    assert lines[3] == "1:02:05  step 20: validation 1.400 nats/char  best  (training loss 1.500)"


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    display = progress.display_for(stream)
    display.start(items_per_step=100, item="char")
    display.step(1, 0.1, 1.0, 2.0, 0.5)
    display.step(2, 0.2, 2.0, 1.9, 0.5)
    display.evaluated(ROW, "1.400 nats/char", is_best=False)
    display.stop()
    assert "step 20: validation 1.400 nats/char  (training loss 1.500)" in stream.getvalue()
    assert "chars/s" in stream.getvalue()
