"""Checks of a file before anything decodes it: is it there, is it audio at all, and what else?"""

from hybrid_asr.audio.embedded import AudioFile, EmbeddedFile, bytes_of
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import CHECK_PATH, MISSING, read_problem, why_missing

AGAIN = "copy or download it again"
# Beginnings of audio: such a file is damaged or in need of ffmpeg, never "not audio" (a SPHERE header is plain text).
_AUDIO = (
    *(b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"NIST_1A", b"ID3", b"FORM", b".snd", b"caff", b"#!AMR", b"MAC "),
    *(b"PVF1", b"Creative Voice File", b"MATLAB 5.0", b"riff"),  # libsndfile knows these, too
)
_NOT_AUDIO = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a numpy array (.npy); write it with soundfile",
    b"\x00\x05\x16\x07": "what macOS keeps beside a file (AppleDouble, ._NAME); leave it out",
    b"bplist00": "a placeholder of iCloud; download the file itself",
    b"\x80\x04\x95": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet table, which may hold audio; extract it",
    b"\0" * 64: "64 zero bytes: perhaps the disk was full, or the download a placeholder",
}
_TEXTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the sound itself: get it with 'git lfs pull'",
    b"<!doctype html": "is a web page, such as of an error or a login: look at it, and download the sound again",
    b"<html": "is a web page, such as of an error or a login: look at it, and download the sound again",
    b"/annex/objects/": "is a git-annex pointer, not the sound itself: get it with 'git annex get'",
    b"[internetshortcut]": "is a link of Windows to a web page, not the sound itself: download that",
}
_RATES = (1000, 1_000_000)  # Hz


class AudioError(UserError):
    """A sound file, or a segment of one, that cannot be used; the message names the file and the remedy."""


def check_present(path: AudioFile) -> None:
    """Raise AudioError unless `path` is a file with something in it that this user may read."""
    problem = None if isinstance(path, EmbeddedFile) else read_problem(path)
    if problem == MISSING:
        hint = why_missing(str(path))
        hint = "check its path, or the folder that the path is relative to" if hint == CHECK_PATH else hint
        raise AudioError(f"{path}: no such file; {hint}")
    if problem:
        raise AudioError(f"{path}: {problem}; name a sound file, or check the path and its permissions")
    if not bytes_of(path):
        raise AudioError(f"{path}: is empty (0 bytes); {AGAIN}")
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path}: raw samples do not state their rate; convert them to wav or flac")


def refuse_non_audio(path: AudioFile, head: bytes) -> None:
    """Raise AudioError if `path`, which begins with `head`, begins as text, an archive, a picture or the like.

    libsndfile would read some of these as samples without a header, by the suffix alone.
    """
    if head.startswith(_AUDIO):
        return
    for start, what in _TEXTS.items():
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(start):
            raise AudioError(f"{path}: is not audio: it {what}")
    if head[257:262] == b"ustar":
        raise AudioError(
            f"{path}: is not audio: it is a tar archive; extract it, or, of a shard of 'hybrid-asr pack', decode the "
            "set with 'hybrid-asr decode RUN data.root=DIR'"
        )
    if _is_ark(head):
        raise AudioError(
            f"{path}: is not audio: it is a Kaldi archive (ark) of features or sounds; name the archive by "
            "'kaldi:DIR' with its wav.scp, or write its sounds out with 'wav-copy ark:FILE scp,ark:...'"
        )
    content = next((name for magic, name in _NOT_AUDIO.items() if head.startswith(magic)), None) or _as_text(head)
    if content:
        raise AudioError(f"{path}: is not audio: it begins with {content}; name a sound file, or {AGAIN}")


def check_rate(path: AudioFile, rate: int) -> None:
    """Raise AudioError for a rate in Hz that no recording has: resampling from it would take hours or all memory."""
    low, high = _RATES
    if not low <= rate <= high:
        raise AudioError(
            f"{path}: is damaged: its header says {rate:,} Hz, recordings have {low:,} to {high:,}; {AGAIN}"
        )


def beginning(path: AudioFile) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(512)


def _is_ark(head: bytes) -> bool:
    """Whether a file begins as a binary archive of Kaldi: a name, a space, and a matrix or a sound."""
    name, space, rest = head[:256].partition(b" ")
    return bool(space and name.isascii() and name.decode("ascii").isprintable()) and rest.startswith((b"\0B", b"RIFF"))


def _as_text(head: bytes) -> str | None:
    """The first words in quotes if `head` is text, else None."""
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = head[: len(head) // 2 * 2].decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else the cut at 512 bytes split the last character
            return None
        text = head[: error.start].decode("utf-16" if utf16 else "utf-8-sig")
    if not all(letter.isprintable() or letter in "\r\n\t\f" for letter in text):
        return None
    return f"the text '{' '.join(text.split())[:40]}'"
