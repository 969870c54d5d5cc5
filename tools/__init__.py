"""Scripts around the library: benchmarks, comparisons with other toolkits, tables of results."""
