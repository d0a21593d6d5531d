"""Writes the samples in this folder that no program was at hand for.

Three frames of Au2Cu2 with labels of ASE's EMT, in the layout, the units and the signs
of VASP 6 (ML_AB, OUTCAR, vasprun.xml) and MLIP, after their public documentation. The
second step of OUTCAR and vasprun.xml did not converge. Nothing of otf is used.
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

HERE = Path(__file__).parent
KBAR = 0.1 * GPa
NELM = 4


def frames() -> list[Atoms]:
    generator = np.random.default_rng(7)
    images = []
    for _ in range(3):
        atoms = bulk("Cu", cubic=True, a=3.9)
        atoms.symbols = "Au2Cu2"
        strain = np.eye(3) + 0.04 * generator.uniform(-1, 1, (3, 3))
        atoms.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
        atoms.rattle(0.12, rng=generator)
        atoms.calc = EMT()
        images.append(atoms)
    return images


def rows(table: np.ndarray, form: str = "{:24.16E}", before: str = "") -> str:
    return "".join(
        before + " ".join(form.format(x) for x in row) + "\n" for row in table
    )


def kbar(atoms: Atoms) -> np.ndarray:
    """Return XX YY ZZ XY YZ ZX with the sign of a pressure."""
    xx, yy, zz, yz, xz, xy = -atoms.get_stress() / KBAR
    return np.array([xx, yy, zz, xy, yz, xz])


def ml_ab(images: list[Atoms]) -> str:
    stars, equals, dashes = "*" * 50, "=" * 50, "-" * 50
    head = {
        "The number of configurations": "          3",
        "The maximum number of atom type": "       2",
        "The atom types in the data file": "     Au Cu",
        "The maximum number of atoms per system": "              4",
        "The maximum number of atoms per atom type": "              2",
        "Reference atomic energy (eV)": "  0.000000000000000E+00" * 2,
        "Atomic mass": "   196.96656900000        63.5460000000000",
        "The numbers of basis sets per atom type": "        2     1",
        "Basis set for Au": "          1      1\n          2      2",
        "Basis set for Cu": "          1      3",
    }
    text = " 1.0 Version\n"
    for title, body in head.items():
        text += f"{stars}\n     {title}\n{dashes}\n{body}\n"
    for k, atoms in enumerate(images):
        pressure = kbar(atoms)
        parts = {
            "System name": "     gold and copper",
            "The number of atom types": "       2",
            "The number of atoms": "          4",
            "Atom types and atom numbers": "     Au       2\n     Cu       2",
            "CTIFOR": "  2.000000000000000E-003",
            "Primitive lattice vectors (ang.)": rows(atoms.cell[:])[:-1],
            "Atomic positions (ang.)": rows(atoms.positions)[:-1],
            "Total energy (eV)": f"{atoms.get_potential_energy():24.15E}",
            "Forces (eV ang.^-1)": rows(atoms.get_forces())[:-1],
        }
        if k == 1:  # older files have no CTIFOR
            del parts["CTIFOR"]
        text += f"{stars}\n     Configuration num.{k + 1:7d}\n"
        for title, body in parts.items():
            rule = stars if title.startswith("Atom types") else equals
            text += f"{rule}\n     {title}\n{dashes}\n{body}\n"
        text += (
            f"{equals}\n     Stress (kbar)\n{dashes}\n     XX YY ZZ\n{dashes}\n"
            f"{rows(pressure[None, :3])}{dashes}\n     XY YZ ZX\n{dashes}\n"
            f"{rows(pressure[None, 3:])}"
        )
    return f"{text}{stars}\n"


def outcar(images: list[Atoms]) -> str:
    text = " vasp.6.3.2 27Jun22 (build Jul  1 2022) complex\n\n"
    potentials = (("Au", "PAW_PBE Au 04Oct2007"), ("Cu", "PAW_PBE Cu 22Jun2005"))
    for _ in range(2):
        for _, title in potentials:
            text += f" POTCAR:    {title}\n"
    for symbol, title in potentials:
        text += f"   TITEL  = {title}\n   VRHFIN ={symbol}: s1d10\n"
    text += "   ions per type =               2   2\n"
    text += "   number of dos      NEDOS =    301   number of ions     NIONS =      4\n"
    text += f"   NELM   = {NELM:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps\n"
    for k, atoms in enumerate(images):
        energy = atoms.get_potential_energy()
        for i in range(NELM if k == 1 else 3):
            text += f"\n----- Iteration {k + 1:6d}({i + 1:4d})  " + "-" * 30 + "\n"
            text += "  Free energy of the ion-electron system (eV)\n"
            text += f"  free energy    TOTEN  = {energy + 0.1 / (i + 1):18.8f} eV\n"
        if k != 1:
            text += (
                "-" * 24 + " aborting loop because EDIFF is reached " + "-" * 20 + "\n"
            )
        text += "\n  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        text += "  Direction    XX       YY       ZZ       XY       YZ       ZX\n"
        text += "  in kB   " + "".join(f"{x:12.5f}" for x in kbar(atoms)) + "\n"
        text += "  external pressure =        0.00 kB  Pullay stress =        0.00 kB\n"
        text += "\n VOLUME and BASIS-vectors are now :\n"
        text += f"  volume of cell :{atoms.get_volume():12.2f}\n"
        text += (
            "      direct lattice vectors                 reciprocal lattice vectors\n"
        )
        both = np.hstack([atoms.cell[:], np.linalg.inv(atoms.cell[:]).T])
        text += rows(both, "{:12.9f}", "    ")
        text += (
            "\n POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        )
        text += " " + "-" * 83 + "\n"
        table = np.hstack([atoms.positions, atoms.get_forces()])
        for row in table:
            text += "".join(f"{x:13.5f}" for x in row[:3])
            text += "".join(f"{x:14.6f}" for x in row[3:]) + "\n"
        text += " " + "-" * 83 + "\n"
        text += "    total drift:" + " " * 31 + "0.000000      0.000000\n"
        text += "\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"
        text += "  " + "-" * 51 + "\n"
        text += f"  free  energy   TOTEN  = {energy:18.8f} eV\n"
        text += f"\n  energy  without entropy= {energy:16.8f}"
        text += f"  energy(sigma->0) = {energy:16.8f}\n"
    return text + "\n General timing and accounting informations for this job:\n"


def varray(name: str, table: np.ndarray, indent: str = "  ") -> str:
    body = rows(table, "{:16.8f}", f"{indent} <v> ").replace("\n", " </v>\n")
    return f'{indent}<varray name="{name}" >\n{body}{indent}</varray>\n'


def structure(atoms: Atoms, name: str = "") -> str:
    said = f' name="{name}"' if name else ""
    return (
        f" <structure{said} >\n  <crystal>\n{varray('basis', atoms.cell[:])}"
        f'   <i name="volume"> {atoms.get_volume():15.8f} </i>\n  </crystal>\n'
        f"{varray('positions', atoms.get_scaled_positions(wrap=False))} </structure>\n"
    )


def vasprun(images: list[Atoms]) -> str:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
    text += '  <i name="version" type="string">6.3.2  </i>\n </generator>\n'
    text += ' <kpoints>\n  <varray name="kpointlist" >\n'
    text += "   <v> 0.00000000 0.00000000 0.00000000 </v>\n  </varray>\n"
    text += '  <varray name="weights" >\n   <v> 1.00000000 </v>\n  </varray>\n'
    text += " </kpoints>\n"
    text += ' <parameters>\n  <separator name="electronic" >\n'
    text += f'   <i type="int" name="NELM"> {NELM:5d}</i>\n  </separator>\n'
    text += '   <i name="PSTRESS">      0.00000000</i>\n </parameters>\n'
    text += " <atominfo>\n  <atoms>       4 </atoms>\n  <types>       2 </types>\n"
    text += '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n'
    text += '   <field type="string">element</field>\n   <set>\n'
    for symbol, kind in (("Au", 1), ("Au", 1), ("Cu", 2), ("Cu", 2)):
        text += f"    <rc><c>{symbol:2s}</c><c>{kind:4d}</c></rc>\n"
    text += "   </set>\n  </array>\n </atominfo>\n"
    text += structure(images[0], "initialpos")
    for k, atoms in enumerate(images):
        energy = atoms.get_potential_energy()
        text += " <calculation>\n"
        for i in range(NELM if k == 1 else 3):
            text += "  <scstep>\n   <energy>\n"
            text += f'    <i name="e_fr_energy"> {energy + 0.1 / (i + 1):16.8f} </i>\n'
            text += f'    <i name="e_0_energy"> {energy + 0.1 / (i + 1):16.8f} </i>\n'
            text += "   </energy>\n  </scstep>\n"
        xx, yy, zz, xy, yz, xz = kbar(atoms)
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        text += structure(atoms)
        text += varray("forces", atoms.get_forces()) + varray("stress", tensor)
        text += f'  <energy>\n   <i name="e_fr_energy"> {energy:16.8f} </i>\n'
        text += f'   <i name="e_0_energy"> {energy:16.8f} </i>\n  </energy>\n'
        text += " </calculation>\n"
    return text + structure(images[-1], "finalpos") + "</modeling>\n"


def cfg(images: list[Atoms]) -> str:
    text = ""
    for atoms in images:
        virial = -atoms.get_stress() * atoms.get_volume()
        text += "BEGIN_CFG\n Size\n    4\n Supercell\n"
        text += rows(atoms.cell[:], "{:13.6f}", "    ")
        text += " AtomData:  id type       cartes_x      cartes_y      cartes_z"
        text += "           fx          fy          fz\n"
        table = np.hstack([atoms.positions, atoms.get_forces()])
        for i, row in enumerate(table):
            numbers = " ".join(f"{x:13.6f}" for x in row)
            text += f"         {i + 1:5d} {int(i >= 2):4d} {numbers}\n"
        text += f" Energy\n    {atoms.get_potential_energy():20.12f}\n"
        text += " PlusStress:  xx          yy          zz          yz          xz"
        text += "          xy\n    " + " ".join(f"{x:11.5f}" for x in virial) + "\n"
        text += " Feature   EFS_by       EMT\nEND_CFG\n\n"
    return text


if __name__ == "__main__":
    for name, write in (
        ("emt.ML_AB", ml_ab),
        ("emt.OUTCAR", outcar),
        ("emt.vasprun.xml", vasprun),
        ("emt.cfg", cfg),
    ):
        (HERE / name).write_text(write(frames()))
