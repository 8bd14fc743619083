"""Records of runs as data frames. The only room of the analysis that opens run folders."""
