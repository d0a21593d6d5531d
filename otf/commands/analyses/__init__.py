"""The kinds of otf-md analyse, one file each."""
