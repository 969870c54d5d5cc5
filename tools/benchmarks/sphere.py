"""NIST SPHERE files, as AN4 and the LDC distribute speech: libsndfile reads them and writes none."""

from pathlib import Path

import numpy as np


def write_sphere(path: Path, samples: np.ndarray, rate: int = 16000) -> None:
    """NIST SPHERE: a header of 1,024 bytes, then 16-bit samples."""
    values = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
    fields = {
        "channel_count -i": 1,
        "sample_rate -i": rate,
        "sample_count -i": len(values),
        "sample_n_bytes -i": 2,
        "sample_byte_format -s2": "01",
        "sample_sig_bits -i": 16,
        "sample_coding -s3": "pcm",
    }
    header = "NIST_1A\n   1024\n" + "".join(f"{name} {value}\n" for name, value in fields.items()) + "end_head\n"
    path.write_bytes(header.encode().ljust(1024) + values.tobytes())
