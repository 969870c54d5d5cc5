"""Damage to sound files where it hurts: headers that lie, samples that are no numbers, a suffix of another format."""

import struct

from .table import AUDIO, HEADED, Case, damages

LIES = (0, 1, 2, 7, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def number(case: Case, true: int, bits: int = 32) -> int:
    """A lie about `true` that fits into `bits`."""
    near = (true // 2, true * 2, true + 1, max(0, true - 1), true + 100_000)
    return case.rng.choice([lie for lie in (*LIES, *near) if lie != true and lie < 1 << bits])


def field(case: Case, at: int, form: str) -> None:
    """Replace the number at byte `at`, packed as `form`, by a lie."""
    data = case.data
    size = struct.calcsize(form)
    data[at : at + size] = struct.pack(form, number(case, struct.unpack_from(form, data, at)[0], 8 * size))
    case.data = data


@damages(("wav", "float-wav"), unseen=("wav", "float-wav"))
def riff_size_lies(case: Case) -> None:
    """The size of the whole in a RIFF header: it is not needed."""
    field(case, 4, "<I")


@damages(("wav", "float-wav"), unseen=("wav", "float-wav"))
def fmt_size_lies(case: Case) -> None:
    """The size of the chunk `fmt `, behind which the samples are looked for."""
    field(case, 16, "<I")


@damages(("wav", "float-wav"), unseen=("wav", "float-wav"))
def fmt_lies(case: Case) -> None:
    """Format, channels, rate, bytes a second, bytes a frame or bits in the chunk `fmt `."""
    at, form = case.rng.choice([(20, "<H"), (22, "<H"), (24, "<I"), (28, "<I"), (32, "<H"), (34, "<H")])
    field(case, at, form)


@damages(("wav", "float-wav"), unseen=("wav", "float-wav"))
def data_size_lies(case: Case) -> None:
    """The bytes of samples in a wav: fewer than promised is a truncation, more may be another chunk."""
    field(case, case.data.index(b"data") + 4, "<I")


@damages(("sphere",), unseen=("sphere",))
def sphere_field_lies(case: Case) -> None:
    """A field of a SPHERE header has another value, or none."""
    head, body = case.data[:1024].decode(), case.data[1024:]
    names = ("sample_count", "sample_rate", "sample_n_bytes", "sample_byte_format", "channel_count", "sample_coding")
    name = case.rng.choice(names)
    lies = (
        "-i 0",
        "-i -1",
        "-i 99999999999999999999",
        "-i",
        "-s3 ulaw",
        "-i 3",
        "-s5 10101",
        "-r 1.5",
        "-i 2147483647",
    )
    lines = [f"{name} {case.rng.choice(lies)}" if line.startswith(name) else line for line in head.split("\n")]
    case.data = "\n".join(lines).encode()[:1024].ljust(1024) + body


@damages(("sphere",), unseen=("sphere",))
def sphere_header_size_lies(case: Case) -> None:
    """The size of a SPHERE header is another, or no number."""
    data = case.data
    data[8:15] = case.rng.choice([b"   2048", b"      0", b"     -1", b"    abc", b"9999999", b"    512"])
    case.data = data


@damages(("sphere",), unseen=("sphere",))
def sphere_header_without_end(case: Case) -> None:
    """A SPHERE header without `end_head`."""
    case.data = case.data.replace(b"end_head", b"dne_daeh")


@damages(("flac",))
def streaminfo_lies(case: Case) -> None:
    """Sizes of blocks or of frames, bits, samples or MD5 in a flac's header."""
    data, at = case.data, 8 + case.rng.choice([0, 2, 4, 7, 13, 14, 15, 16, 17, 18, 20, 30])
    data[at] ^= 1 + case.place(255)
    case.data = data


@damages(("flac",), unseen=("flac",))
def flac_rate_lies(case: Case) -> None:
    """Rate or channels in a flac's header: with another rate the same samples are another sound."""
    data, at = case.data, 8 + case.rng.choice([10, 11, 12])
    data[at] ^= 1 + case.place(255)
    case.data = data


@damages(("flac",))
def flac_block_size_lies(case: Case) -> None:
    """The size of a block of metadata in a flac."""
    data = case.data
    data[5:8] = number(case, 34, 24).to_bytes(3, "big")
    case.data = data


@damages(("aiff",), unseen=("aiff",))
def aiff_chunk_lies(case: Case) -> None:
    """Sizes of chunks, channels, samples, bits or rate of an AIFF."""
    common, sound = case.data.index(b"COMM"), case.data.index(b"SSND")
    fields = [(4, ">I"), (common + 4, ">I"), (common + 8, ">H"), (common + 10, ">I"), (common + 14, ">H")]
    fields += [(common + 16, ">H"), (common + 18, ">I"), (sound + 4, ">I"), (sound + 8, ">I"), (sound + 12, ">I")]
    at, form = case.rng.choice(fields)
    field(case, at, form)


@damages(("au",), unseen=("au",))
def au_field_lies(case: Case) -> None:
    """Where samples begin, their bytes, encoding, rate or channels of an AU file."""
    field(case, case.rng.choice([4, 8, 12, 16, 20]), ">I")


@damages(("ogg", "opus"))
def ogg_page_lies(case: Case) -> None:
    """Version, flags, position, serial number, sequence number, checksum or segments of a page of an Ogg file."""
    data = case.data
    pages = [place for place in range(len(data)) if data[place : place + 4] == b"OggS"]
    at = case.rng.choice(pages) + case.rng.choice([4, 5, 6, 8, 14, 18, 22, 26, 27])
    data[at] ^= 1 + case.place(255)
    case.data = data


@damages(("ogg", "opus"))
def ogg_page_missing(case: Case) -> None:
    """A whole page of an Ogg file is missing, perhaps the last."""
    pages = case.data.split(b"OggS")[1:]
    del pages[case.place(len(pages))]
    case.data = b"".join(b"OggS" + page for page in pages)


@damages(("mp3",), unseen=("mp3",))
def mp3_tag_lies(case: Case) -> None:
    """The frames or bytes that the tag in the first frame counts."""
    data = case.data
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    field(case, tag + case.rng.choice([4, 8, 12]), ">I")


@damages(("m4a",), unseen=("m4a",))
def m4a_box_lies(case: Case) -> None:
    """The size or the name of a box of an m4a, or a table in it."""
    data = case.data
    names = [b"ftyp", b"moov", b"mvhd", b"trak", b"mdia", b"stsd", b"mp4a", b"stts", b"stsc", b"stsz", b"stco", b"mdat"]
    at = data.index(case.rng.choice(names))
    field(case, max(0, at + case.rng.choice([-4, 0, 8, 12, 16])), ">I")


@damages(("float-wav",))
def sample_not_a_number(case: Case) -> None:
    """A sample that is NaN, infinite or a thousand times louder than any."""
    data = case.data
    begin = data.index(b"data") + 8
    at = begin + 4 * case.place((len(data) - begin) // 4)
    data[at : at + 4] = struct.pack("<f", case.rng.choice([float("nan"), float("inf"), float("-inf"), 3e38]))
    case.data = data


@damages(HEADED)
def header_alone(case: Case) -> None:
    """The header, and none of the samples."""
    sizes = {"wav": 44, "float-wav": case.data.index(b"data") + 8 if case.kind == "float-wav" else 0, "sphere": 1024}
    case.data = case.data[: sizes.get(case.kind, 54 if case.kind == "aiff" else 24)]


@damages(AUDIO, unseen=AUDIO)
def wrong_suffix(case: Case) -> None:
    """A sound file of another format under this name: its contents decide, so that this is no damage."""
    names = ["a.flac", "a.mp3", "a.ogg", "a.sph", "a.aiff", "a.au", "float.wav"]
    case.data = (case.controls / case.rng.choice([name for name in names if name != case.path.name])).read_bytes()


@damages(AUDIO)
def raw_samples(case: Case) -> None:
    """The samples alone, as 16-bit numbers, without a header."""
    case.data = (case.controls / "a.wav").read_bytes()[5000:]
