"""The faults that `break_it.py` plants, each with a test that must turn red; test_break_it.py keeps them true.

Every fault leaves code that runs and looks right: the kind of mistake that costs a point of error rate, or makes a
result too good, and that nobody sees.

A fault is a paragraph of TABLE: its name and the file, its tests, the text before (`- `) and after (`+ `). The text
before stands exactly once in the file; it may begin and end within a line, and a line of its own keeps its indentation.
"""

from typing import NamedTuple

TABLE = r"""
valid-mask-inverted: hybrid_asr/common/masks.py
  tests/common/test_masks.py::test_true_marks_real_positions_and_padding_is_on_the_right
- device=lengths.device) < lengths[:, None]
+ device=lengths.device) >= lengths[:, None]

padding-unmasked-in-convolution: hybrid_asr/nn/convolution.py
  tests/nn/test_convolution.py::test_numbers_in_the_padding_reach_neither_outputs_nor_gradients
- F.glu(self.gate(values), dim=-1) * valid[..., None]
+ F.glu(self.gate(values), dim=-1)

keys-not-rotated: hybrid_asr/nn/attention.py
  tests/nn/test_attention.py::test_queries_and_keys_are_rotated_and_values_are_not
- KeysValues(rotation(memory.keys, table), memory.values)
+ memory

dropout-in-evaluation: hybrid_asr/nn/dropout.py
  tests/nn/test_dropout.py::test_evaluation_and_rate_zero_are_the_identity
- if not self.training or self.p == 0:
+ if self.p == 0:

decoder-sees-the-future: hybrid_asr/models/transformer_decoder.py
  tests/models/test_transformer_decoder.py::test_a_label_changes_what_follows_it_and_nothing_before
- self.self_attention(self.norms[0](x), None, causal=True)
+ self.self_attention(self.norms[0](x), None)

cached-steps-all-at-position-0: hybrid_asr/models/transformer_decoder.py
  tests/models/test_transformer_decoder.py::test_step_by_step_equals_all_at_once
- self._embed(last.view(utterances, hyps), state.steps, 1)
+ self._embed(last.view(utterances, hyps), 0, 1)

memory-of-the-wrong-utterance-kept: hybrid_asr/models/transformer_decoder.py
  tests/models/test_transformer_decoder.py::test_utterances_that_leave_take_their_hypotheses_with_them
- KeysValues(*(part[utterances] for part in pair)) for pair in state.memory
+ KeysValues(*(part[: len(utterances)] for part in pair)) for pair in state.memory

code-in-model-files-runs: hybrid_asr/models/bundle.py
  tests/models/test_bundle.py::test_code_in_a_foreign_file_is_not_run
- torch.load(path, map_location="cpu", weights_only=True)
+ torch.load(path, map_location="cpu", weights_only=False)

weight-gradient-of-the-wrong-side: hybrid_asr/nn/linear.py
  tests/nn/test_linear.py::test_outputs_and_gradients_are_those_of_exact_products
- if wide else _product(gradient.t(), rows.t())
+ if wide else _product(rows.t(), gradient.t()).t().contiguous().view(gradient.shape[1], -1).flip(0)

rows-cut-before-they-are-multiplied: hybrid_asr/nn/linear.py
  tests/nn/test_linear.py::test_outputs_and_gradients_are_those_of_exact_products
- F.pad(rows, (0, 0, 0, -len(rows) % ROUNDED_TO))
+ F.pad(rows, (0, 0, 0, -(len(rows) % ROUNDED_TO))).repeat(2, 1)[: len(rows)]

distances-off-by-one: hybrid_asr/nn/relative_attention.py
  tests/nn/test_relative_attention.py::test_the_formula
- scores.storage_offset() + size - 1)
+ scores.storage_offset() + size - 2)

distance-bias-of-the-content: hybrid_asr/nn/relative_attention.py
  tests/nn/test_relative_attention.py::test_the_formula
- (queries + self.distance_bias[:, None]) @ far
+ (queries + self.content_bias[:, None]) @ far

batch-norm-over-padding: hybrid_asr/nn/convolution.py
  tests/nn/test_convolution.py::test_batch_norm_is_torchs_over_the_real_frames
- real, count = valid[..., None], valid.sum().clamp(min=1)
+ real, count = 1, valid.numel()

repeats-need-no-frame-of-their-own: hybrid_asr/losses.py
  tests/test_losses.py::test_a_repeated_label_needs_a_blank_between
- return label_lengths + repeats.sum(1)
+ return label_lengths

smoothing-ignored: hybrid_asr/losses.py
  tests/test_losses.py::test_attention_loss_equals_a_loop_over_the_labels_and_the_end
- label_smoothing=smoothing,
+ label_smoothing=0.0,

end-not-learned: hybrid_asr/losses.py
  tests/test_losses.py::test_attention_loss_equals_a_loop_over_the_labels_and_the_end
- torch.where(steps > label_lengths[:, None], IGNORE, targets)
+ torch.where(steps >= label_lengths[:, None], IGNORE, targets)

loss-weights-swapped: hybrid_asr/losses.py
  tests/test_losses.py::test_the_joint_loss_is_the_interpolation_of_its_parts
- total = ctc_weight * ctc + (1 - ctc_weight) * attention
+ total = (1 - ctc_weight) * ctc + ctc_weight * attention

ctc-repeat-rule-dropped: hybrid_asr/decoding/ctc_prefix.py
  tests/decoding/test_ctc_prefix.py::test_every_extension_and_end_equals_the_sum_over_all_alignments
- repeats = (state.last[parents] == labels)[:, None]
+ repeats = torch.zeros_like(labels, dtype=torch.bool)[:, None]

greedy-keeps-repeats: hybrid_asr/decoding/ctc_greedy.py
  tests/decoding/test_ctc_greedy.py::test_equals_the_collapsed_argmax_whatever_stands_in_the_padding
- real & (labels != blank) & ~repeats
+ real & (labels != blank)

cache-not-reordered: hybrid_asr/decoding/scorer.py
  tests/decoding/test_scorer.py::test_reordered_cache_equals_running_from_scratch
- return self.decoder.reorder(state, parents)
+ return state

end-unscored: hybrid_asr/decoding/joint.py
  tests/decoding/test_joint.py::test_a_full_beam_is_exhaustive_search
- gained = gained.clamp_(max=0.0)
+ gained = gained.clamp_(max=0.0).masked_fill(labels == self.eos, 0.0)

search-goes-on-past-its-bound: hybrid_asr/decoding/joint.py
  tests/decoding/test_joint.py::test_the_bound_holds_and_what_it_forces_is_scored_and_marked
- return like <= length if min(bounds) <= length else None
+ return like < length if min(bounds) < length else None

stop-forgets-what-a-bonus-can-bring: hybrid_asr/decoding/joint.py
  tests/decoding/test_joint.py::test_a_late_winner_is_waited_for
- reachable = torch.maximum(self._rank(best, length), self._rank(full, beam.bounds))
+ reachable = self._rank(best, length)

ties-fall-as-topk-likes: hybrid_asr/decoding/joint.py
  tests/decoding/test_joint.py::test_best_places_takes_the_first_of_equals
- found[tied] = _first_of_equals(scores[tied], count)
+ pass

utterances-leave-in-the-wrong-order: hybrid_asr/decoding/joint.py
  tests/decoding/test_joint.py::test_neighbors_change_nothing
- beam, step = beam.keep(places), step._replace(parents=step.parents[places])
+ beam, step = beam.keep(places), step._replace(parents=step.parents[: len(places)])

espnet-stops-a-length-too-early: hybrid_asr/decoding/espnet_parity.py
  tests/decoding/test_joint.py::test_espnet_nbest_in_parity_mode
- LENGTHS, FROM = 3, 2
+ LENGTHS, FROM = 2, 2

scan-in-float32: hybrid_asr/decoding/ctc_prefix.py
  tests/decoding/test_ctc_prefix.py::test_a_prefix_is_its_end_or_one_of_its_extensions_over_3000_frames
- logcumsumexp(inflow - before)
+ logcumsumexp((inflow - before).float().double())

blocks-forget-what-came-before: hybrid_asr/decoding/scan.py
  tests/decoding/test_scan.py::test_it_is_the_sum_one_by_one
- before = within[:, :-1, -1].logcumsumexp(1)
+ before = within[:, :-1, -1]

forward-variables-grow-in-the-padding: hybrid_asr/decoding/ctc_prefix.py
  tests/decoding/test_ctc_prefix.py::test_what_was_said_by_the_end_does_not_hide_what_came_before
- before = _at_real(state, state.total[:, :-1])
+ before = state.total[:, :-1]

cache-not-reordered-after-compaction: hybrid_asr/nn/kv_cache.py
  tests/models/test_transformer_decoder.py::test_copied_dropped_and_reordered_hypotheses_equal_recomputation
- LabelCache(Store(content.gather(4, which), room), sees, needed + room)
+ LabelCache(Store(content[..., :needed, :], room), sees, needed + room)

second-heir-overwrites-the-first: hybrid_asr/nn/kv_cache.py
  tests/models/test_transformer_decoder.py::test_a_state_is_a_value_and_can_be_used_again
- if store.filled != filled or filled + hyps > store.capacity:
+ if filled + hyps > store.capacity:

packed-weights-outlive-a-training: hybrid_asr/nn/linear.py
  tests/nn/test_linear.py::test_packed_weights_follow_the_weights
-         if self._packed is not None:
-             self._packed = None
+         return None

length-bound-ignored: hybrid_asr/decoding/decoder.py
  tests/inference/test_build.py::test_the_bound_on_length
- return torch.minimum(encoded.frames, (1.5 * greedy + 10).long())
+ return encoded.frames

stale-decoding-reused: hybrid_asr/inference/report.py
  tests/training/test_variants.py::test_statistics_of_the_training_set_are_stored_and_used
- if not isinstance(found, dict) or found.get("signatures") != signatures:
+ if not isinstance(found, dict):

validation-reads-segments-from-the-start: hybrid_asr/inference/encode.py
  tests/training/test_bad_data.py::test_evaluation_reads_a_segment_at_its_place
- io.read(path, start_s=utterance.start_s, duration_s
+ io.read(path, start_s=0.0, duration_s

reference-not-normalized: hybrid_asr/inference/evaluate.py
  tests/training/test_bad_data.py::test_references_are_normalized_by_the_models_rules
- reference=normalize(utterance.text, self.bundle.text.rules),
+ reference=utterance.text,

rank-ignored-by-the-plan: hybrid_asr/data/plan.py
  tests/data/test_sampler.py::test_shares_are_disjoint_complete_and_of_the_same_global_batches
- return self._part(step, ranks * accumulation, turn * ranks + rank)
+ return self._part(step, ranks * accumulation, turn * ranks)

divisor-of-the-part-alone: hybrid_asr/data/plan.py
  tests/data/test_sampler.py::test_shares_are_disjoint_complete_and_of_the_same_global_batches
- return Part(tuple(mine), self._divisor(members))
+ return Part(tuple(mine), self._divisor(members[start:stop]))

divisor-without-the-end: hybrid_asr/data/plan.py
  tests/data/test_sampler.py::test_the_divisor_is_the_labels_of_the_global_batch_plus_an_end_each
- total += 1 + (int(self._corpus.labels[first])
+ total += (int(self._corpus.labels[first])

resume-begins-the-epoch-again: hybrid_asr/data/sampler.py
  tests/data/test_sampler.py::test_a_resumed_training_is_the_tail_of_an_uninterrupted_one
- divmod(self._first + step, self._planner.steps)
+ divmod(self._first - self._first % self._planner.steps + step, self._planner.steps)

rank-ignored-in-evaluation: hybrid_asr/data/sampler.py
  tests/data/test_sampler.py::test_evaluation_takes_every_utterance_once_and_gives_ranks_equal_numbers
- return parts[rank::ranks]
+ return parts[::ranks]

speed-not-applied: hybrid_asr/data/dataset.py
  tests/data/test_dataset.py::test_a_batch_holds_the_samples_and_labels_of_its_rows
- io.change_speed(piece, row.speed, self.rate)
+ piece

segments-read-from-the-start: hybrid_asr/data/dataset.py
  tests/data/test_dataset.py::test_segments_are_read_at_their_place
- io.read(path, start_s=utterance.start_s, duration_s
+ io.read(path, start_s=0.0, duration_s

gate-forgets-blanks-between-repeats: hybrid_asr/data/check.py
  tests/data/test_check.py::test_ctc_needs_a_frame_for_each_label_and_a_blank_between_equals
- return len(labels) + sum(one == other for one, other in pairwise(labels))
+ return len(labels)

id-in-two-sets-allowed: hybrid_asr/data/check.py
  tests/data/test_check.py::test_an_id_in_two_sets_is_refused
- _, places, _ = np.intersect1d(first.keys, second.keys,
+ _, places, _ = np.intersect1d(first.keys[:1], second.keys[1:],

segment-off-by-its-resampling-context: hybrid_asr/audio/io.py
  tests/audio/test_io.py::test_a_segment_is_a_slice_of_the_whole
- samples = found[begin - first : None if end is None else end - first]
+ samples = found[: None if end is None else end - begin]

mean-of-a-window-not-emphasized: hybrid_asr/audio/fbank.py
  tests/audio/test_torchaudio.py::test_features_are_torchaudios
- .mean(-1, keepdim=True) * (1.0 - factor)
+ .mean(-1, keepdim=True)

triangles-cut-at-their-band: hybrid_asr/audio/fbank.py
  tests/audio/test_torchaudio.py::test_features_are_torchaudios
- return [(rows[0], rows[-1] + 1, bins) for rows
+ return [(rows[0], rows[-1] - 1, bins) for rows

widest-mask-never-drawn: hybrid_asr/audio/augment.py
  tests/audio/test_torchaudio.py::test_masks_are_drawn_by_torchaudios_law
- widths = _uniform(draws[0], limits[:, None])  # (B, M)
+ widths = _uniform(draws[0], (limits[:, None] - 1).clamp(min=0))  # (B, M)

missing-torchaudio-called-damage: hybrid_asr/models/bundle.py
  tests/models/test_bundle.py::test_a_front_end_that_cannot_be_had_is_no_damage
- except FrontEndUnavailable:
+ except NotADirectoryError:

cmvn-over-padding: hybrid_asr/audio/features.py
  tests/audio/test_fbank.py::test_neither_neighbors_nor_padding_change_an_utterance
- count = frames.clamp(min=1)[:, None, None].to(values.dtype)
+ count = torch.full_like(frames, values.shape[1]).clamp(min=1)[:, None, None].to(values.dtype)

global-statistics-over-padding: hybrid_asr/audio/features.py
  tests/audio/test_fbank.py::test_global_statistics_are_those_of_all_frames
- real = features.values[mask].to("cpu", torch.float64)
+ real = features.values.flatten(0, 1).to("cpu", torch.float64)

blank-is-eos: hybrid_asr/text/labels.py
  tests/text/test_tokenizer.py::test_ids
- self.eos: int = self.size - 1
+ self.eos: int = self.blank

substitutions-counted-as-deletions: hybrid_asr/scoring/align.py
  tests/scoring/test_align.py::test_words_counted_by_hand
- ErrorCounts(sizes["substitute"], sizes["delete"], sizes["insert"], reference)
+ ErrorCounts(0, sizes["substitute"] + sizes["delete"], sizes["insert"], reference)

bootstrap-unpaired: hybrid_asr/scoring/significance.py
  tests/scoring/test_significance.py::test_a_system_against_itself
-     drawn = _rates(sums[:, 0], sums[:, 1])
+     alone = [_grouped(np.stack([counts, reference], axis=1), groups) for counts in (errors, other_errors)]
+     mine, theirs = (_resample(one, resamples, seed + place) for place, one in enumerate(alone))
+     drawn = mine[:, 0] / mine[:, 1] - theirs[:, 0] / theirs[:, 1]

unknown-keys-accepted: hybrid_asr/config/schema.py
  tests/config/test_schema.py::test_every_mistake_is_named_by_its_path
- ConfigDict(extra="forbid",
+ ConfigDict(extra="ignore",

half-written-file-takes-its-place: hybrid_asr/common/files.py
  tests/common/test_files.py::test_an_exception_leaves_the_old_file_as_it_was
-     finally:
-         with contextlib.suppress(OSError):
+     finally:
+         with contextlib.suppress(OSError):
+             os.replace(temporary, path)

a-flipped-bit-is-not-seen: hybrid_asr/models/bundle.py
  tests/models/test_bundle.py::test_one_flipped_bit_is_found_wherever_it_is
- damaged = archive.testzip()
+ damaged = None

previous-state-goes-before-the-new-one-stands: hybrid_asr/common/files.py
  tests/training/test_faults_disk.py::test_at_every_moment_of_saving_there_is_a_whole_state
-                 os.replace(path, former)
+                 os.remove(path)

damaged-state-becomes-the-one-before: hybrid_asr/training/checkpoint.py
  tests/training/test_faults_disk.py::test_a_damaged_state_never_becomes_the_one_before_the_next
- self.from_previous = path.name == PREVIOUS
+ self.from_previous = False

a-lock-that-nobody-looks-at: hybrid_asr/common/lock.py
  tests/common/test_lock.py::test_the_second_is_refused_and_told_who_holds_it
  tests/training/test_faults_stop.py::test_a_second_training_is_refused_also_a_fresh_one
- fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
+ fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

a-reused-process-number-keeps-the-lock: hybrid_asr/common/lock.py
  tests/common/test_lock.py::test_a_process_with_the_number_of_a_dead_one_is_not_that_one
- (not self.started or process_started(self.pid) != self.started)
+ not process_started(self.pid)

bad-updates-are-applied: hybrid_asr/training/module.py
  tests/training/test_faults_nonfinite.py::test_an_update_that_is_not_finite_changes_nothing
- optimizer.found_inf = (~finite).float()
+ optimizer.found_inf = torch.zeros_like(norm)

an-infinite-loss-with-a-finite-gradient-counts: hybrid_asr/training/module.py
  tests/training/test_faults_nonfinite.py::test_a_loss_that_is_not_finite_spoils_the_gradient
- return loss * (1 + 0 * loss.detach())
+ return loss

rows-that-could-not-be-read-count: hybrid_asr/data/dataset.py
  tests/training/test_faults_data.py::test_a_row_that_is_left_out_is_silence_that_does_not_count
- round(seconds * self.rate)), np.float32), 0.0
+ round(seconds * self.rate)), np.float32), row.weight

restarted-workers-repeat-a-part: hybrid_asr/data/loader.py
  tests/training/test_faults_data.py::test_killed_workers_are_started_again_where_they_were
- stream.first = given
+ stream.first = max(0, given - 1)

changed-hypotheses-stay: hybrid_asr/inference/report.py
  tests/test_cli.py::test_hypotheses_that_were_changed_are_decoded_again
- whole = found.get("hypotheses_sha256") == file_digest(place / "hypotheses.jsonl")
+ whole = (place / "hypotheses.jsonl").is_file()

masks-repeat-at-every-step: hybrid_asr/training/module.py
  tests/training/test_bad_data.py::test_what_a_step_draws_hangs_on_its_number
- place_seed(self.seed, step, part, rank)
+ place_seed(self.seed, part, rank)

spec-augment-never-applied: hybrid_asr/training/module.py
  tests/training/test_resume.py::test_what_is_drawn_is_on
- if step >= self.mask_from:
+ if step >= self.total_steps:

spec-augment-counted-but-not-applied: hybrid_asr/training/module.py
  tests/training/test_bad_data.py::test_what_a_step_draws_hangs_on_its_number
- features, masked = self.mask(features)
+ _, masked = self.mask(features)

smoothing-not-passed-on: hybrid_asr/training/module.py
  tests/training/test_bad_data.py::test_the_recipes_smoothing_reaches_the_loss
- eos=tokenizer.eos, smoothing=cfg.smoothing)
+ eos=tokenizer.eos, smoothing=0.0)

fillers-count: hybrid_asr/training/module.py
  tests/training/test_bad_data.py::test_a_filler_teaches_nothing
- loss = (losses.total * batch.weights).sum() / batch.divisor
+ loss = losses.total.sum() / batch.divisor

accumulated-parts-weigh-less: hybrid_asr/training/module.py
  tests/training/test_two_processes.py::test_accumulated_parts_are_one_batch
- * (self.trainer.world_size * self.accumulate)
+ * self.trainer.world_size

gradient-not-clipped: hybrid_asr/training/module.py
  tests/training/test_module.py::test_the_norm_of_a_gradient_is_bounded_and_told
- clip_grad_norm_(self.model.parameters(), self.optim.clip)
+ clip_grad_norm_(self.model.parameters(), float("inf"))

resume-warms-up-again: hybrid_asr/training/module.py
  tests/training/test_resume.py::test_ctrl_c_saves_and_says_how_to_go_on
- lr_share(self.optim, self.step, self.total_steps)
+ lr_share(self.optim, self.trainer.global_step, self.total_steps)

resume-forgets-the-optimizer: hybrid_asr/training/save_and_validate.py
  tests/training/test_resume.py::test_ctrl_c_saves_and_says_how_to_go_on
-             trainer.optimizers[0].load_state_dict(self.optimizer)

no-dropout-after-validation: hybrid_asr/training/save_and_validate.py
  tests/training/test_resume.py::test_what_is_drawn_is_on
-             module.train()

average-of-the-last-alone: hybrid_asr/training/checkpoint.py
  tests/training/test_checkpoint.py::test_the_mean_is_the_mean_and_counters_are_the_last_ones
- torch.stack([entry[name].double() for entry in weights]).mean(0).to(last.dtype)
+ last

worst-epoch-is-best: hybrid_asr/training/checkpoint.py
  tests/training/test_checkpoint.py::test_the_best_is_the_earlier_of_equals
- key=lambda entry: (entry.error, entry.epoch))
+ key=lambda entry: (-entry.error, entry.epoch))

metrics-not-cut-on-resume: hybrid_asr/training/csv_metrics.py
  tests/training/test_metrics.py::test_what_lies_behind_the_step_is_forgotten
- for row in rows if int(row["step"]) <= step]
+ for row in rows]

init-says-taken-and-takes-nothing: hybrid_asr/training/initial_weights.py
  tests/training/test_initial_weights.py::test_an_equal_vocabulary_takes_everything
-             value.copy_(source[name])

init-from-what-does-not-fit-is-silent: hybrid_asr/training/initial_weights.py
  tests/training/test_bad_data.py::test_starting_from_what_does_not_fit_is_refused
- if not loaded.taken and not loaded.by_unit:
+ if not loaded.taken and not loaded.by_unit and not loaded.fresh:

frozen-parts-learn: hybrid_asr/training/initial_weights.py
  tests/training/test_initial_weights.py::test_a_part_is_a_whole_name
- weight.requires_grad_(False)
+ weight.requires_grad_(True)

test-voice-in-training: recipes/spoken/prepare.py
  tests/recipes/test_spoken.py::test_no_voice_is_in_two_sets
- "train": ("m1", "m2", "m5",
+ "train": ("m1", "m2", "m4", "m5",

test-sentences-in-training: recipes/spoken/prepare.py
  tests/recipes/test_spoken.py::test_no_sentence_is_in_two_sets
- if home(text) == subset and len(words)
+ if len(words)

test-names-in-training: recipes/spoken/prepare.py
  tests/recipes/test_spoken.py::test_a_fifth_of_the_test_names_is_spelled_nowhere_else
- [name for name in NAMES if name not in TEST_NAMES]
+ NAMES

transcripts-are-html: hybrid_asr/pages/kit.py
  tests/pages/test_run_page.py::test_texts_are_texts
-         autoescape=True,
+         autoescape=False,

page-times-off-by-the-stride: hybrid_asr/attention/utterance_view.py
  tests/pages/test_utterance_picture.py::test_all_parts_share_the_time_axis_of_the_audio
  tests/pages/test_heat_map.py::test_all_parts_share_one_axis_in_seconds
- frame_s=bundle.frame_s,
+ frame_s=frontend.seconds_per_frame,

another-head-than-the-chosen-one: hybrid_asr/pages/utterance_picture.py
  tests/pages/test_utterance_picture.py::test_the_page_holds_the_weights_head_by_head_and_a_row_a_label
- pack(quantize_root(one.numpy()))
+ pack(quantize_root(one.numpy()[::-1]))

rows-of-attention-one-label-late: hybrid_asr/attention/teacher_forcing.py
  tests/attention/test_teacher_forcing.py::test_they_are_the_weights_of_all_steps_at_once
- pad(labels, (1, 0), value=sos)
+ pad(labels[:, :-1], (2, 0), value=sos)

curves-without-their-peaks: hybrid_asr/pages/charts.py
  tests/pages/test_charts.py::test_no_peak_is_lost_among_thousands_of_rows_and_the_caption_says_what_is_shown
- y[rows].min(), y[rows].max())
+ y[rows].mean(), y[rows].mean())

a-page-stops-a-training: hybrid_asr/pages/run_page.py
  tests/pages/test_run_page.py::test_a_page_that_cannot_be_written_stops_nothing
-     except Exception as error:
+     except UserError as error:

validation-speakers-in-training: recipes/an4/prepare.py
  tests/recipes/test_an4.py::test_a_small_copy
- "train": [utterance for utterance in training if utterance.speaker not in held_out],
+ "train": training,

ogg-pages-not-summed: hybrid_asr/audio/ogg.py
  tests/audio/test_whole.py::test_every_flipped_bit_is_found
- _checksum(blank + lengths + body) == checksum)
+ checksum >= 0)

md5-of-a-flac-not-compared: hybrid_asr/audio/sndfile.py
  tests/audio/test_whole.py::test_a_flac_must_give_the_md5_of_its_header
- .digest() != wanted:
+ .digest() == b"":

aliases-multiply-without-bound: hybrid_asr/config/yaml_limits.py
  tests/config/test_outline.py::test_it_is_refused_with_its_line
- sizes.get(event.anchor, 1))
+ 1)

pipes-are-waited-for: hybrid_asr/common/files.py
  tests/common/test_files.py::test_what_is_no_file_is_told_and_not_waited_for
- not (pipes and kind == stat.S_IFIFO)
+ kind != stat.S_IFIFO

weights-that-are-no-numbers-accepted: hybrid_asr/models/file_checks.py
  tests/models/test_file_checks.py::test_weights_that_are_no_numbers_are_named
- if not torch.isfinite(value).all():
+ if torch.isneginf(value).all():

fuzzer-forgives-messages-without-the-file: tools/fuzzing/verdict.py
  tests/stress/test_fuzz.py::test_each_rule_is_applied
- if not named:
+ if not message:

fuzzer-forgives-what-is-executed: tools/fuzzing/worker.py
  tests/stress/test_fuzz.py::test_planted_faults_of_readers_are_noticed
- if case.marker.exists():
+ if case.marker.is_file():

espnets-features-mirrored-one-sample-off: hybrid_asr/audio/espnet_logmel.py
  tests/audio/test_espnet_logmel.py::test_features_are_espnets_in_number_and_value
- (ends - 2 - away)
+ (ends - 1 - away)

espnets-ends-mirrored-in-the-padding: hybrid_asr/audio/espnet_logmel.py
  tests/audio/test_espnet_logmel.py::test_neighbors_and_what_stands_behind_the_end_change_nothing
- ends = samples[:, None]
+ ends = samples.amax().expand(len(samples), 1)

espnets-keys-and-values-swapped: hybrid_asr/convert/espnet_weights.py
  tests/convert/test_espnet_models.py::test_encoder_ctc_and_decoder_compute_espnets_numbers_beside_other_utterances
- f"{theirs}.src_attn", "kv")
+ f"{theirs}.src_attn", "vk")

unknown-settings-of-espnet-passed-over: hybrid_asr/convert/section.py
  tests/convert/test_espnet_import.py::test_what_is_not_supported_is_refused_by_its_key_and_value
- if self.tree[key] not in (None, False, "", [], {}):
+ if self.tree[key] is ...:

espnets-defaults-mistaken: hybrid_asr/convert/espnet_config.py
  tests/convert/test_espnet_import.py::test_what_is_not_supported_is_refused_by_its_key_and_value
- conf.require("rel_pos_type", "legacy", "latest", _RETRAIN)
+ conf.require("rel_pos_type", "latest", "latest", _RETRAIN)

weights-of-other-parts-dropped-in-silence: hybrid_asr/convert/espnet_import.py
  tests/convert/test_espnet_import.py::test_damaged_and_foreign_weights_are_refused_with_the_reason
- if name not in known | _REMADE and not name.endswith(".pe"):
+ if name not in known | _REMADE and name.endswith(".pe"):

ratio-whatever-the-texts: tools/bench_decoding.py
  tests/tools/test_bench_decoding.py::test_a_ratio_is_printed_for_equal_texts_only
- if name == HALF or (verdict.same and complete):
+ if name == HALF or complete:

other-text-of-that-score-is-a-tie: tools/decoding_work.py
  tests/tools/test_bench_decoding.py::test_a_text_that_differs_is_other_work_unless_it_is_tied
- tied += abs(score - elsewhere.get(tuple(text), theirs[key][-1][1])) < tie
+ tied += 1

utterances-that-no-round-shows: tools/decoding_work.py
  tests/tools/test_bench_decoding.py::test_rounds_show_every_utterance_of_a_batch
- share = math.ceil(batch / rounds)
+ share = max(batch // rounds, 1)

repeats-need-no-blank-between: hybrid_asr/decoding/ctc_prefix_beam.py
  tests/decoding/test_ctc_prefix_beam.py::test_equals_the_plain_loops
- torch.where(last != before, whole, in_blank).mul_(has)
+ whole.mul_(has)

one-labeling-in-two-slots: hybrid_asr/decoding/ctc_prefix_beam.py
  tests/decoding/test_ctc_prefix_beam.py::test_equals_the_plain_loops
- grown.flatten(1).scatter_(1, twin, -1.0)
+ grown.flatten(1).scatter_(1, twin.clamp(max=0), -1.0)

impossible-slots-keep-their-names: hybrid_asr/decoding/ctc_prefix_beam.py
  tests/decoding/test_ctc_prefix_beam.py::test_what_is_impossible_so_far_is_not_in_the_beam
- torch.where(scores > 0, survivors.names, nothing)
+ torch.where(scores > -2, survivors.names, nothing)

memory-of-another-utterance-rescored: hybrid_asr/decoding/rescoring.py
  tests/decoding/test_rescoring.py::test_the_attention_part_is_that_of_single_steps
- Encoded(encoded.states[places], encoded.frames[places])
+ Encoded(encoded.states[sorted(places)], encoded.frames[places])

rescoring-forgets-the-end: hybrid_asr/decoding/rescoring.py
  tests/decoding/test_rescoring.py::test_the_attention_part_is_that_of_single_steps
- masked_fill(~valid_mask(counts + 1, targets.shape[1]), 0.0)
+ masked_fill(~valid_mask(counts, targets.shape[1]), 0.0)

alignment-blocks-run-over-too-few-labels: hybrid_asr/decoding/ctc_align.py
  tests/decoding/test_ctc_align.py::test_blocks_change_nothing
- min(end // 2 - len(block), width - window)
+ min(end // 2 - len(block) // 2, width - window)

pieces-keep-the-left-context: hybrid_asr/inference/long_form.py
  tests/inference/test_long_form.py::test_pieces_that_hear_all_give_the_same_numbers
- row[piece.first - piece.begin : piece.last - piece.begin]
+ row[: piece.last - piece.first]

failed-rows-are-forgotten: hybrid_asr/inference/batching.py
  tests/inference/test_batching.py::test_every_row_is_done_once_or_named_once
- if len(piece) == 1:
+ if len(piece) <= 2:

loops-that-were-said-count: hybrid_asr/scoring/repetitions.py
  tests/scoring/test_repetitions.py::test_four_times_is_a_loop_wherever_it_stands_unless_it_was_said
- and not _holds(said, written[place - equal - size : place])
+ and written[place - equal - size : place]

sweep-chooses-on-the-test-set: hybrid_asr/commands/decode.py
  tests/commands/test_decode.py::test_a_sweep_over_the_test_set_is_marked_and_chooses_nothing
- "selection" if on == "valid" else "not for selection"
+ "selection" if on in ("valid", "test") else "not for selection"

oracle-of-the-first-text: hybrid_asr/scoring/oracle.py
  tests/scoring/test_oracle.py::test_it_is_the_least_of_each
- key=lambda one: one.errors
+ key=lambda one: 0

rows-of-a-piece-mixed-up: hybrid_asr/inference/encode.py
  tests/inference/test_one_pass.py::test_a_batch_that_does_not_fit_is_cut_and_the_texts_are_the_same
- torch.tensor(rows, device=self.encoded.frames.device)
+ torch.tensor(rows, device=self.encoded.frames.device) - rows[0]

attention-of-padding-is-measured: hybrid_asr/attention/measures.py
  tests/attention/test_measures.py::test_a_batch_is_the_plain_formulas_whatever_stands_in_the_padding
- real = (row_real[:, :, None] & frame_real[:, None])[:, None, None]
+ real = 1.0

neighbors-overlap: hybrid_asr/attention/measures.py
  tests/attention/test_measures.py::test_a_batch_is_the_plain_formulas_whatever_stands_in_the_padding
- for lag in range(2, weights.shape[3]):
+ for lag in range(1, weights.shape[3]):

backwards-is-in-order-too: hybrid_asr/attention/measures.py
  tests/attention/test_measures.py::test_a_diagonal_is_in_order_covers_all_and_does_not_overlap
- signs = forward.sign() *
+ signs = forward.sign().abs() *

all-heads-must-follow: hybrid_asr/attention/alarms.py
  tests/attention/test_alarms.py::test_one_head_that_follows_is_enough
- np.unravel_index(int(best.argmax()), best.shape)
+ np.unravel_index(int(best.argmin()), best.shape)

alarm-told-at-every-epoch: hybrid_asr/attention/alarms.py
  tests/attention/test_alarms.py::test_the_alarm_waits_and_is_given_once_until_a_head_follows_again
-         self.told = True
+         self.told = False

earlier-attention-not-cut-on-resume: hybrid_asr/training/attention_monitor.py
  tests/training/test_attention_monitor.py::test_what_lies_behind_the_last_epoch_is_forgotten_and_an_alarm_is_not_told_twice
- if row["epoch"] <= epoch]
+ if row["epoch"]]

ties-count-as-right: hybrid_asr/scoring/ranking.py
  tests/scoring/test_ranking.py::test_it_is_the_share_of_pairs_in_order
- right.cumsum()[:-1]]) + right / 2
+ right.cumsum()[:-1]]) + right

words-drawn-not-utterances: hybrid_asr/scoring/ranking.py
  tests/scoring/test_ranking.py::test_words_of_one_utterance_share_their_luck
- np.unique(np.asarray(utterances), return_inverse=True)
+ np.unique(np.arange(len(utterances)), return_inverse=True)

a-curve-of-the-test-set-chooses: hybrid_asr/inference/sweep.py
  tests/inference/test_sweep.py::test_the_best_has_the_lowest_rate_then_is_nearest_to_the_recipe_s_own
- if not whole or self.purpose != "selection":
+ if not whole:

one-bad-file-ends-transcribe: hybrid_asr/recognizer.py
  tests/test_recognizer.py::test_a_file_that_cannot_be_decoded_is_named_and_the_others_are_transcribed
-             if bad is None:
-                 raise named from error
+             if named:
+                 raise named from error

weights-of-the-wrong-layer: hybrid_asr/attention/weights.py
  tests/attention/test_weights.py::test_the_decoders_weights_are_those_of_all_steps_at_once
- {number: rows[:, number] for number in wanted}
+ {number: rows[:, -1 - number] for number in wanted}

shown-weights-on-padding: hybrid_asr/nn/attention.py
  tests/attention/test_weights.py::test_weights_sum_to_one_over_real_keys_and_no_neighbor_matters
- return attention_weights(queries, memory.keys, mask)
+ return attention_weights(queries, memory.keys, mask if causal else None)

shown-weights-without-distances: hybrid_asr/nn/relative_attention.py
  tests/attention/test_weights.py::test_weights_times_values_are_what_every_attention_gives
- return attention_weights(queries, memory.keys, mask, bias=bias)
+ return attention_weights(queries, memory.keys, mask)

labels-shown-to-see-the-future: hybrid_asr/nn/attention.py
  tests/attention/test_weights.py::test_labels_look_at_themselves_and_the_past_only
- dtype=torch.bool, device=queries.device).tril()
+ dtype=torch.bool, device=queries.device)

patches-of-the-lowest-band-alone: hybrid_asr/attention/weights.py
  tests/attention/test_weights.py::test_patches_are_summed_over_time_and_over_frequency
- return _grid(weights, bands).sum(4).mean(2)
+ return _grid(weights, bands).sum(4)[:, :, 0]

head-chosen-by-its-first-label: hybrid_asr/commands/show_attention.py
  tests/commands/test_show_attention.py::test_the_head_that_is_chosen_is_the_nearest_to_the_alignment
- ~middles.isnan()).mean())
+ ~middles.isnan())[..., 0])

reversal-ignores-lengths: hybrid_asr/nn/recurrent.py
  tests/nn/test_recurrent.py::test_it_is_torchs_own_of_each_row_alone
- mirrored = lengths[:, None] - 1 - places
+ mirrored = torch.full_like(lengths, time)[:, None] - 1 - places

padding-attended: hybrid_asr/nn/rnn_attention.py
  tests/nn/test_rnn_attention.py::test_weights_sum_to_one_over_real_frames_and_are_zero_elsewhere
- wide.masked_fill(memory.padding, -torch.inf).softmax(-1).masked_fill(memory.padding, 0.0)
+ wide.softmax(-1)

heirs-keep-their-own-cells: hybrid_asr/models/lstm_decoder.py
  tests/models/test_transformer_decoder.py::test_copied_dropped_and_reordered_hypotheses_equal_recomputation
- part.flatten(0, 1)[parents].unflatten(0, (utterances, -1))
+ part.flatten(0, 1)[parents.sort().values].unflatten(0, (utterances, -1))

pyramid-promises-whole-groups-only: hybrid_asr/models/pyramidal_lstm.py
  tests/models/test_pyramidal_lstm.py::test_lengths_are_exact_and_no_utterance_depends_on_its_batch
- left = joined_length(left, join)
+ left = left // join

padding-joined-to-the-last-frame: hybrid_asr/nn/subsampling.py
  tests/models/test_pyramidal_lstm.py::test_joining_loses_no_frame_and_fills_up_with_zeros
- real = values * valid_mask(frames, values.shape[1])[..., None]
+ real = values

samples-in-evaluation: hybrid_asr/models/lstm_decoder.py
  tests/models/test_lstm_decoder.py::test_evaluation_never_samples
- self.sampling.rate_at(self.progress) if self.training else 0.0
+ self.sampling.rate_at(self.progress)

location-sees-the-future-of-its-weights: hybrid_asr/nn/rnn_attention.py
  tests/nn/test_rnn_attention.py::test_additive_attention_is_its_formula
- F.pad(before, (self.reach, self.reach))
+ F.pad(before, (0, 2 * self.reach))

gradient-of-the-last-step-only: hybrid_asr/nn/loop.py
  tests/nn/test_loop.py::test_outputs_and_gradients_are_the_plain_layers
- for parts in zip(*ctx.gathered, strict=True)
+ for parts in zip(*ctx.gathered[:1], strict=True)

guidance-of-padded-steps: hybrid_asr/losses.py
  tests/test_losses.py::test_guided_attention_is_its_formula_step_by_step
- * price * real[:, :, None]).sum((1, 2))
+ * price).sum((1, 2))

no-blank-between-equal-labels-of-two-words: hybrid_asr/decoding/lexicon.py
  tests/decoding/test_lexicon_search.py::test_a_label_that_ends_a_word_and_begins_the_next_needs_a_blank_between
- np.where(labels == self.trie.labels[moved.nodes], moved.blank, total)
+ np.where((labels == self.trie.labels[moved.nodes]) & ~np.isin(nodes, self.trie.entries), moved.blank, total)

last-word-need-not-be-complete: hybrid_asr/decoding/lexicon.py
  tests/decoding/test_lexicon_search.py::test_a_word_that_is_not_complete_does_not_count
- silent = beam.nodes == START
+ silent = beam.nodes >= START

pronunciations-are-maxed: hybrid_asr/decoding/word_beam.py
  tests/decoding/test_lexicon_search.py::test_pronunciations_are_added_up_and_the_labels_are_those_of_the_best
- np.logaddexp.reduceat(part[order], starts)
+ np.maximum.reduceat(part[order], starts)

sentences-never-end: hybrid_asr/decoding/lexicon.py
  tests/decoding/test_lexicon_search.py::test_with_a_full_beam_it_is_exhaustive_search_with_an_ngram
- ends = self.ngram.ending(whole.states)
+ ends = np.zeros(len(words))

back-off-weight-dropped: hybrid_asr/text/ngram.py
  tests/text/test_ngram.py::test_back_off_is_that_of_a_calculation_by_hand
- log_probs[left] += self._backoffs[here]
+ log_probs[left] += 0.0

lexicon-of-training-words-has-them-all: hybrid_asr/inference/lexicon.py
  tests/inference/test_lexicon.py::test_a_phoneme_model_restricted_to_training_words
- tokenizer.lexicon.only(_training_words(bundle))
+ tokenizer.lexicon

changed-lexicon-is-not-seen: hybrid_asr/commands/decode.py
  tests/inference/test_lexicon.py::test_a_changed_lexicon_is_decoded_again
- self.bundle.text.rules, self.metric, *read])
+ self.bundle.text.rules, self.metric])

a-step-of-patches-reaches-into-padding: hybrid_asr/nn/patches.py
  tests/nn/test_patches.py::test_a_time_step_lies_wholly_in_real_frames
- torch.div(frames - self.size, self.stride, rounding_mode="floor") + 1
+ torch.div(frames, self.stride, rounding_mode="floor")

patches-of-padding-are-looked-at: hybrid_asr/models/patch_transformer.py
  tests/models/test_encoder.py::test_neighbors_and_padding_do_not_change_an_utterance
- valid.repeat_interleave(grid[2], 1)[:, None, None]
+ valid.repeat(1, grid[2])[:, None, None]

patches-joined-out-of-order: hybrid_asr/models/patch_transformer.py
  tests/models/test_patch_transformer.py::test_a_state_is_made_of_the_patches_of_its_own_time_step
- self.norms[0](x).view(*grid[:2], -1)
+ self.norms[0](x).view(grid[0], grid[2], grid[1], -1).transpose(1, 2).flatten(2)

patch-cut-bin-by-bin: hybrid_asr/nn/patches.py
  tests/nn/test_patches.py::test_patches_are_those_cut_by_hand
- .unfold(2, self.bins, self.bin_stride).flatten(3)
+ .unfold(2, self.bins, self.bin_stride).transpose(3, 4).flatten(3)

a-plugin-s-leak-is-overlooked: hybrid_asr/models/plugin_checks.py
  tests/models/test_plugin.py::test_an_encoder_that_breaks_the_contract_is_refused_by_name
- alone = _encoded(encoder, values[row : row + 1, :frames], [frames], label)
+ alone = _encoded(encoder, values[row : row + 1], [frames], label)

a-plugin-s-options-are-not-checked: hybrid_asr/models/plugin.py
  tests/models/test_plugin.py::test_an_encoder_that_breaks_the_contract_is_refused_by_name
- if not is_config(found.config):
+ if not isinstance(found.config, type):

utterances-without-a-frame-pass-without-ctc: hybrid_asr/data/check.py
  tests/data/test_check.py::test_an_utterance_too_short_for_a_patch_or_a_pyramid_is_named_with_what_the_encoder_needs
- indices = np.flatnonzero(manifest.durations / speed < shortest)
+ indices = np.flatnonzero(manifest.durations * speed < 0)

short-and-long-utterances-mixed: hybrid_asr/pages/errors_by_length.py
  tests/pages/test_errors_by_length.py::test_groups_part_the_utterances_by_length
  tests/pages/test_errors_by_length.py::test_a_decoding_that_fails_on_long_utterances_is_seen_to_do_so
- pending = np.concatenate([pending, np.flatnonzero(lengths == length)])
+ pending = np.concatenate([pending, np.flatnonzero(lengths <= length)])

control-hears-its-own-transcripts: tools/compare_models.py
  tests/tools/test_compare_models.py::test_a_control_s_transcripts_are_those_of_other_utterances_and_nothing_else_changes
- found[mine] = texts[order[place - shift]]
+ found[mine] = texts[mine]

pictures-of-later-epochs-stay-on-resume: hybrid_asr/training/attention_pictures.py
  tests/training/test_attention_pictures.py::test_pictures_behind_the_epoch_from_which_it_goes_on_are_removed
- if number > epoch:
+ if number > epoch + 1:

a-failed-picture-ends-the-training: hybrid_asr/training/attention_pictures.py
  tests/training/test_attention_pictures.py::test_where_they_cannot_be_written_the_training_goes_on_and_says_so_once
- except Exception as error:  # a picture
+ except ValueError as error:  # a picture

the-picture-of-an-epoch-shows-the-first-head: hybrid_asr/pages/epoch_figure.py
  tests/pages/test_epoch_figure.py::test_the_leading_head_is_drawn_with_each_row_at_its_time
- one.weights[leading]
+ one.weights[0, 0]

the-last-epoch-is-not-on-the-page: hybrid_asr/pages/epoch_pictures.py
  tests/pages/test_epoch_pictures.py::test_they_are_spread_evenly_and_the_last_one_is_there
- np.linspace(size - 1, 0, count)
+ np.linspace(max(size - 2, 0), 0, count)

attention-that-marches-is-taken-for-listening: hybrid_asr/attention/alarms.py
  tests/attention/test_alarms.py::test_what_is_seen_is_told_with_causes_and_remedies
- (follows and not deaf)
+ follows

what-a-decoder-finds-by-content-is-called-marching: hybrid_asr/attention/alarms.py
  tests/attention/test_alarms.py::test_attention_that_moves_on_by_itself_may_do_so_while_it_listens
- heads.marching[layer, head] >= FOLLOWS and heads.listening < LISTENS
+ heads.listening < LISTENS

the-nats-of-padding-count: hybrid_asr/attention/diagnosis.py
  tests/attention/test_diagnosis.py::test_the_nats_are_the_mean_of_an_utterance_s_labels_whoever_stands_beside_it
- (nats * valid_mask(sizes, labels.shape[1])).sum(1)
+ nats.sum(1)

frames-are-shuffled-into-the-padding: hybrid_asr/attention/diagnosis.py
  tests/attention/test_diagnosis.py::test_shuffling_moves_real_frames_alone_and_keeps_them_all
- row[:frames] = torch.randperm(frames, generator=torch.Generator().manual_seed(seed))
+ row[:] = torch.randperm(len(row), generator=torch.Generator().manual_seed(seed))

dither-and-dropout-stay-in-evaluation: hybrid_asr/models/bundle.py
  tests/models/test_bundle.py::test_in_evaluation_nothing_is_drawn
- self.frontend.eval()
+ self.frontend.train()

doubt-of-the-letter-before: hybrid_asr/attention/confidence.py
  tests/attention/test_confidence.py::test_a_words_support_is_the_geometric_mean_of_its_labels_posteriors
- places.append(owners[at - 1])
+ places.append(owners[max(at - 2, 0)])

doubt-belongs-to-the-utterance-before: hybrid_asr/attention/confidence_errors.py
  tests/attention/test_confidence_errors.py::test_what_cannot_be_judged_does_not_hide_the_others
- here = [written[indices[place]] for place in encoded_batch.places]
+ here = [written[indices[place]] for place, _ in enumerate(encoded_batch.places)]

left-out-words-count-as-wrong-ones: hybrid_asr/attention/confidence_errors.py
  tests/attention/test_confidence_errors.py::test_what_was_written_is_wrong_or_right_and_what_was_left_out_is_neither
- [step.kind != "equal" for step in self.steps if step.hypothesis]
+ [step.kind != "equal" for step in self.steps if step.reference]

threshold-chosen-on-the-test-set: hybrid_asr/pages/doubtful_words.py
  tests/pages/test_doubtful_words.py::test_the_threshold_comes_from_the_validation_set_of_the_same_decoder_and_weights
- read_utterances(here[0])
+ read_utterances(chosen)

shown-errors-flatter-the-marks: hybrid_asr/pages/doubtful_words.py
  tests/pages/test_doubtful_words.py::test_numbers_are_of_an_even_choice_and_what_is_shown_is_marked_besides
- judged = [one for one in seen if one.id in sample]
+ judged = seen

equal-numbers-cut-apart: hybrid_asr/scoring/ranking.py
  tests/scoring/test_ranking.py::test_no_other_cut_has_a_better_f1_and_none_as_good_marks_fewer
- scores[:-1][ordered[1:] == ordered[:-1]] = -1.0
+ scores[:-1][ordered[1:] == ordered[:-1]] *= 1.0

mark-at-the-first-word-that-is-equal: hybrid_asr/pages/doubtful_words.py
  tests/pages/test_doubtful_words.py::test_a_text_in_segments_is_the_text_with_its_marks
- place = text.find(step.hypothesis, end)
+ place = text.find(step.hypothesis)

a-pyramid-larger-than-an-utterance-passes: hybrid_asr/inference/encode.py
  tests/test_cli.py::test_a_pyramid_that_is_too_large_is_refused_before_training
- return max(first_frame_s(bundle), bundle.frame_s)
+ return first_frame_s(bundle)

forbidden-words-are-not-told-of: hybrid_asr/inference/lexicon.py
  tests/inference/test_lexicon.py::test_words_that_an_n_gram_forbids_are_counted_and_named
- if ngram.number(word) == NO_WORD}
+ if ngram.number(word) == NO_WORD and len(spelled) == 1}

a-torn-picture-is-shown: hybrid_asr/pages/epoch_pictures.py
  tests/pages/test_epoch_pictures.py::test_what_is_no_picture_is_left_out
- image.load()  # one that was cut off opens
+ assert image  # one that was cut off opens

a-plugin-is-tried-on-short-audio-alone: hybrid_asr/models/plugin_checks.py
  tests/models/test_plugin.py::test_an_encoder_that_breaks_the_contract_is_refused_by_name
- for frames in LONG:
+ for frames in LONG[:0]:

a-plugin-s-weights-may-sum-to-anything: hybrid_asr/models/plugin_checks.py
  tests/models/test_plugin.py::test_a_decoder_that_breaks_the_contract_is_refused_by_name
- if not (whole.all() and (seen
+ if not ((seen
"""


class Fault(NamedTuple):
    """In `file`, `old`, which stands there exactly once, becomes `new`; then one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def parse(paragraph: str) -> Fault:
    """Read one paragraph of the table."""
    head, *lines = paragraph.strip().splitlines()
    name, file = head.split(": ")
    before, after, tests = ([line[2:] for line in lines if line.startswith(mark)] for mark in ("-", "+", "  "))
    return Fault(name, file, "\n".join(before), "\n".join(after), tuple(tests))


FAULTS = [parse(paragraph) for paragraph in TABLE.strip().split("\n\n")]
