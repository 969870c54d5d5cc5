"""Import a model from ESPnet2's `config.yaml` and `model.pth`; no code in these files is run."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from hybrid_asr.audio.espnet_logmel import EspnetLogMelConfig, mel_filters
from hybrid_asr.common.files import read_problem
from hybrid_asr.config.files import yaml_problem
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.config.yaml_limits import check_yaml
from hybrid_asr.convert.espnet_config import Espnet, read_espnet
from hybrid_asr.convert.espnet_weights import ours_from_theirs, refuse_strange, weight_map
from hybrid_asr.convert.section import ConvertError
from hybrid_asr.models.bundle import Bundle, BundleError, read_torch
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.text.labels import TokenizerError
from hybrid_asr.text.token_list import TokenListTokenizer

LARGEST_CONFIG = 16 << 20  # bytes; ESPnet keeps all tokens in it
MOST_TOKENS = 200_000
LABELS_PER_FRAME = 1.0  # bound on the length of texts without CTC; the files do not hold that of the training set
_MELS_OFF = 1e-5  # largest difference of filters that peak at 0.02 and more; another rate or scale differs by more
_REMADE = {"frontend.logmel.melmat", "normalize.mean", "normalize.std"}
_REMEDY = "copy model.pth from where it was trained again"


def read_config(path: Path) -> Espnet:
    """Translate a `config.yaml`. Raises ConvertError that names every setting that is not supported, with a remedy."""
    tree = _read_yaml(path)
    espnet = read_espnet(tree)
    if espnet.problems:
        lines = espnet.problems[:12] + [f"… and {len(espnet.problems) - 12} more"] * (len(espnet.problems) > 12)
        raise ConvertError("\n  ".join([f"{path}: this model cannot be imported:", *lines]))
    return espnet


def _read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises ConvertError."""
    problem = read_problem(path, largest=LARGEST_CONFIG)
    if problem:
        raise ConvertError(f"{path}: {problem}; give the config.yaml that ESPnet wrote beside its model")
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text, str(path), most=MOST_TOKENS)
        tree = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ConvertError(f"{path}: is not UTF-8 (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise ConvertError(f"{path}{yaml_problem(error)}") from None
    except ConfigError as error:
        raise ConvertError(str(error)) from None
    except ValueError as error:  # an impossible date, a number with too many digits
        raise ConvertError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict) or "encoder" not in tree:
        raise ConvertError(f"{path}: not a configuration of ESPnet's speech recognition; it has no key 'encoder'")
    return tree


def tokenizer_of(espnet: Espnet, config: Path, bpemodel: Path | None) -> TokenListTokenizer:
    """The tokenizer of a configuration. Raises ConvertError unless blank is the first token, as in ESPnet's CTC."""
    tokens = espnet.tokens
    special = {name: tokens.index(name) for name in ("<blank>", "<unk>", "<sos/eos>") if name in tokens}
    if special.get("<blank>") != 0 or "<unk>" not in special:
        raise ConvertError(f"{config}: token_list: expected '<blank>' as the first token, and '<unk>' among the others")
    model = _sentencepiece(espnet.bpemodel, config, bpemodel) if espnet.joins == "pieces" else None
    end = special.get("<sos/eos>", len(tokens) - 1)
    try:
        return TokenListTokenizer(tokens, joins=espnet.joins, blank=0, unk=special["<unk>"], sos=end, model=model)
    except TokenizerError as error:
        raise ConvertError(f"{config}: token_list: {error}") from error


def _sentencepiece(named: str | None, config: Path, given: Path | None) -> bytes:
    """The content of the file `given`, else of the one `named` in the configuration, here or beside `config`."""
    paths = [given] if given is not None else [Path(str(named)), config.parent / str(named)] if named else []
    for path in paths:
        if read_problem(path) is None:
            return path.read_bytes()
    source = f"bpemodel is {named!r}" if given is None else f"--bpemodel {given}"
    raise ConvertError(f"{config}: {source}: no such file can be read here; give it with --bpemodel FILE")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `model.pth`; no code in it is run. Raises ConvertError."""
    try:
        content = read_torch(path, remedy=_REMEDY)
        return refuse_strange(content)
    except BundleError as error:
        raise ConvertError(str(error)) from error
    except ConvertError as error:
        raise ConvertError(f"{path}: not the weights of an ESPnet model: {error}") from None


def build_bundle(config: dict[str, Any], tokenizer: TokenListTokenizer, path: Path) -> Bundle:
    """The model that `config`, a run's whole configuration, describes, with the weights of the file `path`."""
    weights = read_weights(path)
    model = parse(ModelConfig, config["model"], where="model")
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes the configuration claims
            like = Bundle.build(config, tokenizer, LABELS_PER_FRAME)
        entries = weight_map(model, [name for name in ("ctc", "decoder") if getattr(like.model, name) is not None])
        ours = {f"model.{n}": v for n, v in ours_from_theirs(entries, weights, like.model.state_dict()).items()}
        ours |= _front_end_weights(config["features"], weights)
        _refuse_others(weights, {name for entry in entries for name in entry.theirs})
    except ConvertError as error:
        raise ConvertError(f"{path}: {error}") from None
    except RuntimeError as error:
        raise ConvertError(f"{path}: the configuration asks for sizes that do not fit into memory: {error}") from error
    description = Bundle(like.frontend, like.model, tokenizer, like.text, LABELS_PER_FRAME, config).describe()
    try:
        return Bundle.restore(description, ours, path)
    except BundleError as error:
        raise ConvertError(str(error)) from error


def _front_end_weights(features: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The statistics of GlobalMVN. Raises ConvertError unless the mel filters are those that we compute."""
    mel = mel_filters(parse(EspnetLogMelConfig, features, where="features"))
    theirs = weights.get("frontend.logmel.melmat")
    if theirs is None or theirs.shape != mel.shape:
        raise ConvertError("'frontend.logmel.melmat' is missing, or has not the size that the configuration says")
    if not float((theirs - mel).abs().max()) < _MELS_OFF:
        raise ConvertError("'frontend.logmel.melmat' holds other filters than frontend_conf describes")
    if features["cmvn"] != "global":
        return {}
    mean, std = weights.get("normalize.mean"), weights.get("normalize.std")
    for name, value in {"normalize.mean": mean, "normalize.std": std}.items():
        if value is None or value.shape != mel.shape[1:]:
            raise ConvertError(f"'{name}', a number for every bin, is missing (normalize: global_mvn)")
    assert mean is not None and std is not None
    if not bool((std > 0).all()):
        raise ConvertError("'normalize.std' holds numbers that are no deviations: they should be above 0")
    return {"frontend.cmvn.mean": mean, "frontend.cmvn.inverse_std": 1.0 / std.double()}


def _refuse_others(weights: dict[str, Tensor], known: set[str]) -> None:
    """Raise ConvertError for weights that the model would not use; tables of positions and filters are recomputed."""
    for name in weights:
        if name not in known | _REMADE and not name.endswith(".pe"):
            raise ConvertError(f"the weight '{name}' is not part of the model that the configuration describes")
