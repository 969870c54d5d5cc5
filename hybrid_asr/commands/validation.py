"""What happens to the validation set while a model trains: it is decoded, scored, and attention is looked at."""

from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import Planner
from hybrid_asr.inference.batching import SharedBatching
from hybrid_asr.inference.build_decoder import decoder_for
from hybrid_asr.inference.decoding_folder import score_items
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.outcomes import gather
from hybrid_asr.inference.presets import load_decoder, valid_decoder
from hybrid_asr.inference.task import DecodingTask
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig
from hybrid_asr.training.attention_monitor import AttentionMonitor
from hybrid_asr.training.launch_environment import is_rank_zero
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.process_group import meet


class Validation:
    """Decodes the validation set with the weights as they are; `metric` names the rate that decides.

    Raises UserError for a decoder that the model does not support.
    """

    def __init__(self, cfg: RunConfig, bundle: Bundle, manifest: Manifest, planner: Planner, monitor: AttentionMonitor):
        self.cfg, self.bundle, self.manifest, self.planner, self.monitor = cfg, bundle, manifest, planner, monitor
        self.name = valid_decoder(cfg.trainer.valid_decoder, bundle)
        self.decoder = decoder_for(bundle, load_decoder(self.name, plain(cfg)), scored=True)
        self.metric = f"valid.{self.name}.{cfg.metric}"

    def __call__(self, module: SpeechModule, epoch: int) -> dict[str, float]:
        """The row for metrics.csv after an epoch: rates, attention, and what the plan of the epoch was."""
        trainer = module.trainer
        share = evaluate_set(
            self.bundle,
            self.manifest,
            {self.name: DecodingTask(self.decoder)},
            batching=SharedBatching(rank=trainer.global_rank, ranks=trainer.world_size),
            device=module.device,
            failures="raise",
        )[self.name]
        meet()
        report, plan = score_items(gather(share).items, self.cfg.metric), self.planner.plan(epoch - 1).statistics
        wer, cer = report.wer.value, report.cer.value
        rank_zero_print(f"epoch {epoch}: valid WER {wer:.2%}, CER {cer:.2%} ({self.name}); plan: {plan.text()}")
        rates = {f"valid.{self.name}.{name}": rate.value for name, rate in report.rates.items()}
        attention = self.monitor.measure(self.bundle, module.device, epoch) if is_rank_zero() else {}
        return rates | attention | plan.row()
