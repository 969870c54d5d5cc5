"""Damage to any file, without a look at what is in it."""

import gzip
import os
import shutil

from .table import ALL, AUDIO, HEADED, HYP, LINES, TEXT, TORCH, Case, damages

UNSUMMED = (*HEADED, "mp3", "m4a", *TEXT)  # contents that could have been meant as well
FIFOS_SERVE = HYP  # `hybrid-asr score ref <(command)` reads a pipe, and rightly waits for its writer


@damages(ALL)
def empty_file(case: Case) -> None:
    """Nothing is left of the file."""
    case.data = b""


@damages(ALL, unseen=(*TEXT, "mp3"))
def truncated(case: Case) -> None:
    """The file ends somewhere before its end."""
    case.data = case.data[: case.place(len(case.data))]


@damages(ALL, unseen=TEXT)
def truncated_in_head(case: Case) -> None:
    """Fewer than a hundred bytes are left."""
    case.data = case.data[: 1 + case.place(99)]


@damages(ALL, unseen=UNSUMMED)
def truncated_near_end(case: Case) -> None:
    """Up to forty bytes are missing at the end."""
    case.data = case.data[: -1 - case.place(40)]


@damages(ALL, unseen=UNSUMMED)
def bit_flip_in_head(case: Case) -> None:
    """One bit of the first hundred bytes is the other one."""
    data = case.data
    data[case.place(min(100, len(data)))] ^= 1 << case.place(8)
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def bit_flip_in_body(case: Case) -> None:
    """One bit behind the first hundred bytes is the other one."""
    data = case.data
    data[min(len(data) - 1, 100 + case.place(len(data) - 100))] ^= 1 << case.place(8)
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def many_bit_flips(case: Case) -> None:
    """Every thousandth byte, at least three, has another bit."""
    data = case.data
    for _ in range(3 + len(data) // 1000):
        data[case.place(len(data))] ^= 1 << case.place(8)
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def bytes_inserted(case: Case) -> None:
    """Up to twenty random bytes stand somewhere in between."""
    data, at = case.data, case.place(len(case.data))
    case.data = data[:at] + case.rng.randbytes(1 + case.place(20)) + data[at:]


@damages(ALL, unseen=UNSUMMED)
def bytes_deleted(case: Case) -> None:
    """Up to two hundred bytes somewhere in between are missing."""
    data, at = case.data, case.place(len(case.data))
    case.data = data[:at] + data[at + 1 + case.place(200) :]


@damages(ALL, unseen=UNSUMMED)
def block_zeroed(case: Case) -> None:
    """Up to 512 bytes are zero, as after a crash of the machine."""
    data, at = case.data, case.place(len(case.data))
    size = min(len(data) - at, 1 + case.place(512))
    data[at : at + size] = bytes(size)
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def second_half_zeroed(case: Case) -> None:
    """The size is right, the second half is zeros: what a download in parts leaves."""
    data = case.data
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def blocks_swapped(case: Case) -> None:
    """Two blocks of up to 300 bytes have changed places."""
    data = case.data
    size = max(1, min(300, len(data) // 4))
    one = case.place(len(data) // 2 - size)
    two = len(data) // 2 + case.place(len(data) // 2 - size)
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
    case.data = data


@damages(ALL, unseen=UNSUMMED)
def block_repeated(case: Case) -> None:
    """A block of up to 400 bytes stands there twice."""
    data, at = case.data, case.place(len(case.data))
    size = 1 + case.place(400)
    case.data = data[: at + size] + data[at:]


@damages(ALL, unseen=UNSUMMED)
def tail_of_noise(case: Case) -> None:
    """Random bytes follow behind the end."""
    case.data = case.data + case.rng.randbytes(1 + case.place(3000))


@damages(ALL, unseen=(*LINES, "m4a"))
def file_twice(case: Case) -> None:
    """The whole file, and the whole file once more."""
    case.data = case.data * 2


@damages(ALL)
def noise(case: Case) -> None:
    """Random bytes of the same size."""
    case.data = case.rng.randbytes(len(case.data))


@damages(ALL)
def zeros(case: Case) -> None:
    """Zero bytes of the same size."""
    case.data = bytes(len(case.data))


@damages(ALL)
def in_reverse(case: Case) -> None:
    """The bytes in reverse order."""
    case.data = case.data[::-1]


@damages(ALL, unseen=("hyp-kaldi", "hyp-trn", "references"))
def bytes_swapped_in_pairs(case: Case) -> None:
    """Every two bytes have changed places: the other order of bytes."""
    data = case.data
    even = len(data) // 2 * 2
    data[0:even:2], data[1:even:2] = data[1:even:2], data[0:even:2]
    case.data = data


@damages(ALL)
def gzipped(case: Case) -> None:
    """Compressed by gzip, under the old name."""
    case.data = gzip.compress(bytes(case.data), mtime=0)


@damages(ALL)
def web_page(case: Case) -> None:
    """What a server sends where the file is not there."""
    case.data = b"<!DOCTYPE html>\n<html><head><title>404</title></head>\n<body>Not Found</body></html>\n"


OTHERS = ("a.wav", "a.flac", "a.mp3", "run/model.pt", "recipe.yaml", "table.csv")


@damages(ALL, unseen=AUDIO)
def other_format(case: Case) -> None:
    """A file of another kind under this name; of sound files another sound file, too, which is no damage."""
    other = case.controls / case.rng.choice(OTHERS)
    if case.kind in TORCH and other.name == "model.pt":
        other = case.controls / "a.wav"
    if other.name == case.path.name:
        other = case.controls / "run" / "model.pt"
    shutil.copyfile(other, case.path)


@damages(ALL)
def folder_instead(case: Case) -> None:
    """A folder of this name."""
    case.path.unlink()
    case.path.mkdir()


@damages(ALL, unseen=("kaldi",))
def missing_file(case: Case) -> None:
    """No file of this name; some of Kaldi's are optional."""
    case.path.unlink()


@damages(ALL)
def symlink_loop(case: Case) -> None:
    """A link to itself."""
    case.path.unlink()
    case.path.symlink_to(case.path.name)


@damages(ALL)
def link_to_nothing(case: Case) -> None:
    """A link to a file that is not there."""
    case.path.unlink()
    case.path.symlink_to("not-there")


@damages(set(ALL) - set(FIFOS_SERVE))
def named_pipe(case: Case) -> None:
    """A pipe into which nobody writes."""
    case.path.unlink()
    os.mkfifo(case.path)


@damages(ALL)
def endless_device(case: Case) -> None:
    """A link to /dev/zero, which never ends."""
    case.path.unlink()
    case.path.symlink_to("/dev/zero")


@damages(ALL)
def sparse_giant(case: Case) -> None:
    """64 GiB of zeros behind the contents, which take no place on the disk."""
    os.truncate(case.path, len(case.data) + (64 << 30))
