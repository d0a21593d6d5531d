"""Reference calculators."""
