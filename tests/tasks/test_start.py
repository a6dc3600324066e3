"""Every network starts from its baseline: it is never much worse, however little it learnt."""

import json

import numpy as np
import pytest
import torch
from tests.tasks.test_tokens import INTENTS, LABELS, SMALL, TAGGED, TEXTS, windows

import unrolled
from unrolled import tasks
from unrolled.data.tokens import ends_of, tokens_of
from unrolled.errors import ModelFileError
from unrolled.files import safetensors_tree
from unrolled.nn.heads import TagHead, best_tags
from unrolled.search.beam import beam_search
from unrolled.tasks import blend
from unrolled.tasks.classify.net import loss_of
from unrolled.tasks.known_tags import CrossFittedPrior
from unrolled.training.batches import batch_for

# as good as no training: what is left is the start
NOTHING = unrolled.TrainSettings(steps=1, lr=1e-9, precision="float32")
SHIFTED = [(window + 40 * (label == "slow"), label) for window, label in windows()]
STARTS = {
    "tag": (unrolled.TagModel, unrolled.TagSettings(**SMALL), TAGGED),
    "understand": (unrolled.UnderstandModel, unrolled.UnderstandSettings(**SMALL), INTENTS),
    "classify": (unrolled.ClassifyModel, unrolled.ClassifySettings(**SMALL), TEXTS),
    "several labels": (unrolled.ClassifyModel, unrolled.ClassifySettings(**SMALL), LABELS),
    "windows": (unrolled.ClassifyModel, unrolled.ClassifySettings(**SMALL, values="x,y", series="id"), SHIFTED),
}


@pytest.fixture(scope="module", params=STARTS)
def untrained(request):
    kind, settings, data = STARTS[request.param]
    model = kind(settings)
    model.fit(data, train=NOTHING)
    return model, data


def test_a_network_that_learnt_nothing_answers_as_its_baseline(untrained):
    model, data = untrained
    assert tasks.task(model.task).Report(model, model.evaluate(data)).comparison().gain >= -0.02


def test_it_is_saved_and_loaded_with_its_start(untrained, tmp_path):
    model, data = untrained
    model.save(tmp_path / "m")
    loaded = type(model).load(tmp_path / "m")
    assert json.dumps(loaded.evaluate(data)) == json.dumps(model.evaluate(data))


@pytest.mark.parametrize("weights", ["[1.0]", "[-1.0, 1.0]", "[NaN, 1.0]", "null", '["a", "b"]'])
def test_damaged_weights_are_refused(untrained, tmp_path, weights):
    model, _ = untrained
    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    vocabulary = json.loads(metadata["vocabulary"])
    if "weights" not in vocabulary:
        return
    metadata["vocabulary"] = json.dumps(vocabulary | {"weights": json.loads(weights)})
    safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata)
    with pytest.raises(ModelFileError, match=r"the weights of its network and of its baseline are damaged$"):
        type(model).load(tmp_path / "bad")


@pytest.mark.parametrize("name", ["tag", "understand", "classify"])
def test_a_file_of_0_1_0_answers_by_its_network_alone(name, tmp_path):
    kind, settings, data = STARTS[name]
    model = kind(settings)
    model.fit(data, train=unrolled.TrainSettings(steps=20, lr=0.02, precision="float32", warmup=5))
    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    vocabulary = json.loads(metadata["vocabulary"])
    metadata["vocabulary"] = json.dumps(
        {name: vocabulary[name] for name in vocabulary if name not in ("weights", "scale")}
    )
    old = {name: each for name, each in tensors.items() if ".prior." not in name and ".correction." not in name}
    safetensors_tree.write_tensors(tmp_path / "old", old, metadata)
    loaded = kind.load(tmp_path / "old")
    assert loaded.predict_all(["good food, great", "visit rome please"])
    assert getattr(loaded.fitted, "weights", blend.NETWORK_ALONE) == blend.NETWORK_ALONE
    assert getattr(loaded.net, "prior", None) is None
    if name == "classify":
        sequences = [loaded.fitted.input_layer.sequence(text) for text, _ in data[:9]]
        assert torch.equal(loaded.logits(sequences), loaded._network(sequences))


def test_the_weights_are_the_likeliest_and_stay_near_one_half_over_few_answers():
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(3000, 2, generator=draw)
    targets = nn_one_hot(torch.distributions.Categorical(logits=2 * truth).sample())
    noise = torch.randn(3000, 2, generator=draw)
    loss = lambda logits, targets: loss_of(logits, targets, is_multiple=False)
    network, baseline = blend.best_weights(noise, truth, targets, loss)
    assert network < 0.1
    assert baseline == pytest.approx(2, abs=0.3)
    few = blend.best_weights(noise[:2] / 5, truth[:2] / 5, targets[:2], loss)
    assert few == pytest.approx((0.5, 0.5), abs=0.2)


def nn_one_hot(classes):
    return torch.nn.functional.one_hot(classes, 2).float()


def test_known_tags_of_a_sentence_are_by_others():
    words, tags = [np.array([i]) for i in range(20)], [np.array([i % 2]) for i in range(20)]
    known = CrossFittedPrior(words, tags, (20, 2), seed=0)
    own = known.at(torch.arange(20).view(1, 20), np.arange(20))[0]
    assert torch.equal(known.whole.argmax(1), torch.arange(20) % 2)
    assert (own[:, 0] - own[:, 1]).abs().max() < 1  # no other sentence has the word


def test_tags_are_read_twice_where_there_is_a_prior():
    draw = torch.Generator().manual_seed(0)
    head = TagHead(6, ["O", "S-a", "S-b"], has_scheme=True, has_prior=True)
    alone = TagHead(6, ["O", "S-a", "S-b"], has_scheme=True, has_prior=False)
    features, prior = torch.randn(5, 2, 6, generator=draw), torch.randn(5, 2, 3, generator=draw)
    tags, lengths = torch.randint(3, (5, 2), generator=draw), torch.tensor([5, 3])
    without, corrected = head.readings(features, prior)
    assert torch.equal(corrected, prior)  # before it has learnt anything
    losses = [-head.crf.log_likelihood(each, tags, lengths).sum() / lengths.sum() for each in (without, corrected)]
    torch.testing.assert_close(head.loss(features, prior, tags, lengths), sum(losses) / 2)
    torch.testing.assert_close(head.loss(features, None, tags, lengths), losses[0])
    assert [each.shape for each in alone.readings(features, None)] == [(5, 2, 3)]
    with torch.no_grad():
        loud = best_tags([head], [features], 100 * prior, lengths)
    assert loud == [prior[:n, i].argmax(1).tolist() for i, n in enumerate(lengths)]


def test_small_data_see_small_batches_where_none_is_given():
    assert [batch_for(n, 16) for n in (1, 31, 63, 64, 127, 128, 10**6)] == [4, 4, 4, 8, 8, 16, 16]
    assert [batch_for(n, 64) for n in (600, 10**6)] == [64, 64]
    for given, used in ((None, 4), (8, 8)):
        model = unrolled.ClassifyModel(unrolled.ClassifySettings(**{**SMALL, "batch": given}))
        model.fit(TEXTS[12:36], train=NOTHING)
        data, held = model.split(model.as_data(TEXTS[12:36]), 0)
        assert model.prepare(data, held, NOTHING, torch.device("cpu"))[1].batches.batch == used


@pytest.mark.parametrize("n", [0, 1, 5, 9, 10, 11, 40])
def test_begin_and_end_of_a_long_text_need_no_list_of_all_its_tokens(n):
    text = " ".join(f"w{i}!" for i in range(n))
    whole = tokens_of(text)
    for most in (2, 7, 20, 100):
        wanted = whole if len(whole) <= most else whole[: most // 2] + whole[len(whole) - (most - most // 2) :]
        assert ends_of(text, most) == wanted


def test_what_is_found_by_a_search_keeps_nothing_else_in_memory():
    """The attention of one sequence, not of all candidates of all rows."""

    def step(ids, state):
        scores = torch.linspace(0, -1, 6).repeat(len(ids), 1).log_softmax(1)
        return scores, torch.full((len(ids), 40), 1 / 40), state

    found = beam_search(step, {"a": torch.zeros(50, 1)}, n_rows=50, beam=4, longest=12, begin=1, end=0)
    for each in found:
        for one in each:
            assert one.attention.untyped_storage().nbytes() == 4 * one.attention.numel()
