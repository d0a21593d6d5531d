"""On-the-fly learning: a potential that decides when to call its reference."""
