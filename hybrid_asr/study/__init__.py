"""Studies: variants of recipes, trained with several seeds, compared with a verdict; `load` reads what one found."""

from hybrid_asr.study.table import Table, load

__all__ = ["Table", "load"]
