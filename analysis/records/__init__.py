"""Records of runs as data frames. The only package of the analysis that opens run folders."""
