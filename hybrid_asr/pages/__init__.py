"""HTML pages, one self-contained file each, from templates/; and pictures.  `kit` and `charts` know nothing of runs."""
