"""Pages to look at: one HTML file each, which needs no network.  `kit` and `charts` know nothing of runs."""
