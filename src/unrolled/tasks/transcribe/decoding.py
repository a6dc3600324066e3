"""From what a network heard to labels: greedy or by beam search, with a language model or without."""

from collections.abc import Callable

from torch import Tensor

from unrolled.search import ctc, transducer
from unrolled.tasks.transcribe.fitted import TranscribeFitted
from unrolled.tasks.transcribe.settings import TranscribeSettings

_LEAST = -12.0  # log-probability of labels that the search looks at


def decoded(
    fitted: TranscribeFitted, settings: TranscribeSettings, heard: Tensor, beam: int
) -> transducer.Hypothesis | ctc.Alignment:
    """Labels of what was heard, [time, size]."""
    net = fitted.net
    bonus = bonus_of(fitted, settings.language_weight) if beam > 1 else None
    if settings.loss == "ctc":
        log_p = net.class_log_p(heard).float().cpu().numpy()
        if beam > 1:
            return ctc.beam(log_p, width=beam, bonus=bonus, least=_LEAST)[0][0]
        path = ctc.Alignment()
        path.read(log_p)
        return path
    state = net.first_written()
    if beam > 1:
        return transducer.beam(heard, state, net.join, net.predict, width=beam, bonus=bonus)[0]
    return transducer.greedy(heard, transducer.Hypothesis(state=state), 0, net.join, net.predict)


def bonus_of(fitted: TranscribeFitted, weight: float) -> Callable[[tuple[int, ...], int], float] | None:
    """What the language model adds to a label after others; None without one."""
    language = fitted.language
    if language is None:
        return None

    def bonus(ids: tuple[int, ...], label: int) -> float:
        text = "".join(fitted.characters[each - 1] for each in ids)
        return weight * language.added(text, fitted.characters[label - 1] if label else "")

    return bonus
