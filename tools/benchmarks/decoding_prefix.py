"""CTC prefix beam search: ours, batched, beside the textbook's loops over utterances, frames, prefixes and labels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig, ctc_prefix_beam
from tools.benchmarks.decoding_work import Case, NbestTexts
from tools.benchmarks.plain_ctc_prefix_beam import plain_ctc_prefix_beam
from tools.peers.toolkits import Sizes

BLANK, FRAMES_PER_SECOND = 0, 24.9


def peaky(case: Case, utterance: int) -> Tensor:
    """(T', V) log posteriors as a trained model has them: one frame for a label, with three rivals, blank elsewhere.

    A model of random weights would emit something in every frame, which no trained one does.
    """
    generator = torch.Generator().manual_seed(3000 + utterance)
    frames = round(FRAMES_PER_SECOND * case.seconds)
    logits = torch.randn(frames, case.units, generator=generator)
    logits[:, BLANK] += 9.0
    at = torch.linspace(1, frames - 2, case.labels).long()
    said = torch.randint(1, case.units - 1, (case.labels, 4), generator=generator)
    for place in range(4):
        logits[at, said[:, place]] += 12.0 - 2.0 * place
    return logits.log_softmax(-1)


class LoopSearcher:
    """The textbook's loops, one utterance after the other."""

    batched = True

    def __init__(self, sizes: Sizes, device: str):
        self.device = device

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        log_probs = [peaky(case, utterance) for utterance in utterances]
        end = case.units - 1

        def work() -> list[NbestTexts]:
            found = [
                plain_ctc_prefix_beam(one, beam=case.beam, candidates=case.beam, excluded=(end,)) for one in log_probs
            ]
            return [[(list(labels), score) for labels, score in nbest] for nbest in found]

        return work


class PrefixSearcher:
    """Ours, all utterances at once."""

    batched = True

    def __init__(self, sizes: Sizes, device: str):
        self.device = device

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        log_probs = torch.stack([peaky(case, utterance) for utterance in utterances]).to(self.device)
        frames = torch.full((len(log_probs),), log_probs.shape[1], device=self.device)
        cfg = CtcPrefixBeamConfig(beam=case.beam, candidates=case.beam, nbest=case.beam)

        def work() -> list[NbestTexts]:
            found = ctc_prefix_beam(log_probs, frames, cfg, blank=BLANK, excluded=(case.units - 1,))
            return [[(list(one.labels), one.score) for one in nbest] for nbest in found]

        return work
