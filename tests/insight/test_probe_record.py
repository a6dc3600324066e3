"""The record of a probe, and what a probe refuses."""

import pytest
import torch
from torch import nn

import unrolled
from tests.insight.probed_scans import (
    Net,
    batch_for,
    loss_of,
    trained,
)  # fmt: skip
from tests.strategies import make_cell
from unrolled import probing
from unrolled.errors import ArgumentError, ProbeError


def test_a_record_reads_as_text_and_is_a_picture():
    torch.manual_seed(0)
    record, *_ = trained(Net(), torch.randn(7, 4, 3), is_probed=True)
    text = repr(record)
    assert text.startswith("record of 5 scans\n  rnn, layer 1, forward (fused, 7 steps)\n    h: norm ")
    assert "; gradient " in text
    axes = record.plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "rnn, layer 1, forward: c"
    assert axes.images[0].get_array().shape == (9, 7)


def test_a_probe_around_one_scan_or_nothing_says_so():
    layer = unrolled.LSTM(3, 5)
    with unrolled.probe(layer) as record:
        layer(torch.randn(2, 1, 3))
    assert repr(record).startswith("record of 1 scan\n")
    with unrolled.probe(layer) as record:
        pass
    assert repr(record) == "record of 0 scans: no scan ran within the probe"
    assert len(record.to_frame()) == 0
    with pytest.raises(
        ProbeError, match=r"record.plot: no scan ran within the probe. Call the model inside the `with`."
    ):
        record.plot()


def test_layers_of_torch_are_named_as_not_seen():
    net = nn.ModuleDict({"a": nn.LSTM(3, 5), "b": unrolled.GRU(3, 5)})
    with unrolled.probe(net) as record:
        net["a"](torch.randn(2, 1, 3))
    assert record.unseen == ["a"]
    assert repr(record).endswith("not seen: a, torch's own layers. unrolled.swap(model) exchanges them.")
    told = r"no scan ran within the probe\. Not seen: a, torch's own layers\. unrolled\.swap\(model\) exchanges them\.$"
    with pytest.raises(ProbeError, match=told):
        record.plot()


def test_inference_is_recorded_without_gradients():
    layer = unrolled.LSTM(3, 600)  # which runs as torch's own outside a probe
    with torch.no_grad(), unrolled.probe(layer) as record:
        ys, _ = layer(torch.randn(3, 40, 3))
    assert not ys.requires_grad
    assert record.scans[0].states["h"].shape == (3, 40)
    assert record.scans[0].gradients == record.scans[0].terms == {}


def test_no_steps_and_no_rows_are_run_as_ever():
    layer = unrolled.GRU(3, 5)
    with unrolled.probe(layer) as record:
        ys, _ = unrolled.scan(unrolled.cells.GRU(3, 5), torch.ones(0, 2, 3), torch.zeros(2, 5))
        none, _ = layer(torch.ones(4, 0, 3))
    assert ys.shape == (0, 2, 5)
    assert none.shape == (4, 0, 5)
    assert repr(record)


def test_a_probe_wants_a_module():
    with pytest.raises(ArgumentError, match=r"^probe: a model of type function. Expected a torch.nn.Module.$"):
        unrolled.probe(loss_of).__enter__()
    assert probing.current is None


def test_one_probe_at_a_time_and_none_after_a_fault():
    def run():
        with unrolled.probe(nn.Identity()):
            unrolled.probe(nn.Identity()).__enter__()

    with pytest.raises(ProbeError, match=r"^probe: another probe is on. Leave its `with` first.$"):
        run()
    assert probing.current is None


def test_a_probe_refuses_transforms():
    cell = make_cell("gru", 1)
    xs, state = batch_for(cell, torch.float64)
    with unrolled.probe(cell), pytest.raises(ProbeError) as caught:
        torch.func.grad(lambda xs: unrolled.scan(cell, xs, state)[0].sum())(xs)
    assert str(caught.value) == (
        "probe: a scan cannot be looked into: it runs under a transform of torch.func. Run the model as it is within "
        "`with unrolled.probe(...)`."
    )


def test_a_probe_refuses_torch_compile():
    layer = unrolled.GRU(3, 5)
    compiled = torch.compile(layer, backend="eager")
    xs = torch.randn(4, 2, 3)
    before = compiled(xs)[0]
    with unrolled.probe(layer) as record, pytest.raises(ProbeError) as caught:
        compiled(xs)
    assert str(caught.value) == (
        "probe: a scan cannot be looked into: it runs within torch.compile. Run the model as it is within "
        "`with unrolled.probe(...)`."
    )
    assert record.scans == []
    torch.testing.assert_close(compiled(xs)[0], before)
