"""The commands of otf-md, one file each."""
