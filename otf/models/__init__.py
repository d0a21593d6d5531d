"""Models: descriptors in, energies, forces, stress and their uncertainties out."""
