"""A control's training set: the same utterances with each other's transcripts, from which nobody learns to listen."""

import json
import random
from pathlib import Path

from hybrid_asr.common.files import write_text

TRIED = 20  # shifts of the ring, of which the best one is taken


def write_shuffled(manifest: Path) -> Path:
    """Write a manifest with shuffled transcripts beside `manifest`, so that as few as can be keep their own.

    What is there already with the same content stays as it is.
    """
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]
    order = list(range(len(lines)))
    random.Random(1).shuffle(order)
    texts = [line["text"] for line in lines]

    def given(shift: int) -> list[str]:
        """Each utterance's text in a ring of random order goes to the one `shift` places behind it."""
        found = texts.copy()
        for place, mine in enumerate(order):
            found[mine] = texts[order[place - shift]]
        return found

    shuffled = min(map(given, range(1, TRIED)), key=lambda found: sum(map(str.__eq__, found, texts)))
    content = "".join(
        json.dumps(line | {"text": text}, ensure_ascii=False) + "\n" for line, text in zip(lines, shuffled, strict=True)
    )
    target = manifest.with_name(f"{manifest.stem}-shuffled.jsonl")
    if not target.exists() or target.read_text(encoding="utf-8") != content:
        write_text(target, content)
    return target
