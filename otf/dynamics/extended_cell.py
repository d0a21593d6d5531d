"""Cells with inertia: Langevin, Martyna-Tobias-Klein, and without a thermostat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.dynamics.barostats import CELL_STREAMS
from otf.dynamics.nose_hoover import chain_step, require_chain
from otf.dynamics.pressure import full_stress
from otf.dynamics.thermostats import thermal_degrees
from otf.errors import InputError
from otf.kernels.cpu.noise import normal
from otf.potential import Untrusted
from otf.units import KB

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import FloatArray
    from otf.dynamics.cell import CellFreedom
    from otf.dynamics.pressure import CellMotion
    from otf.dynamics.schedule import Target
    from otf.dynamics.thermostats import Langevin, Noise
    from otf.dynamics.verlet import Motion
    from otf.potential import Potential, Prediction
    from otf.state import State


@dataclass(frozen=True, eq=False)
class _Moving:
    """A state in which the cell moves.

    Attributes
    ----------
    state : of the atoms; the rates of strain are in ``barostat``
    freedom : of the cell in this step
    inertia : W, eV internal time^2
    n_free : degrees of freedom of the atoms
    kT : eV
    """

    state: State
    freedom: CellFreedom
    inertia: float
    n_free: int
    kT: float  # noqa: N815 - the name of the literature

    @property
    def rates(self) -> FloatArray:
        """Return (k,) the rates of strain."""
        return self.state.barostat

    @property
    def kinetic(self) -> float:
        """Return the kinetic energy of the cell in eV."""
        return 0.5 * self.inertia * float((self.rates**2).sum())

    def with_rates(self, rates: FloatArray) -> _Moving:
        """Return the same with other rates."""
        return replace(self, state=replace(self.state, barostat=rates))

    def with_momenta(self, momenta: FloatArray) -> _Moving:
        """Return the same with other momenta of the atoms."""
        return replace(self, state=replace(self.state, momenta=momenta))

    def with_state(self, state: State) -> _Moving:
        """Return the same with another state of the atoms."""
        return replace(self, state=state)


def inertia_of(relaxation_time: float, n_free: int, kT: float) -> float:
    """Return W = (Nf + 3) kT tau^2/3 in eV internal time^2.

    References
    ----------
    G. J. Martyna, M. E. Tuckerman, D. J. Tobias, M. L. Klein, Mol. Phys. 87, 1117
    (1996), doi 10.1080/00268979600100761, of a full cell; the kinetic energy is
    W tr(nu nu^T)/2, W (d log V/dt)^2/6 of a free volume.
    """
    return (n_free + 3) * kT * relaxation_time**2 / 3.0


def _flow(
    moving: _Moving,
    cell: CellMotion,
    motion: Motion,
    last: Prediction,
    potential: Potential,
    target: Target,
    in_the_middle: Callable[[_Moving], _Moving],
) -> tuple[_Moving, Prediction]:
    """Make a step of the atoms and the cell, with something else in its middle.

    Notes
    -----
    With the rate of strain nu = sum_k nu_k B_k [1]_

    x' = p/m + x nu,  h' = h nu,  p' = F - p nu^T - (tr nu/Nf) p,
    W nu_k' = B_k : (sum p p/m - V stress - d load/dA) + (2K/Nf) tr B_k + kT c_k.

    Split symmetrically: the rates, the momenta, the strain and the drift for half a
    step each, and back.

    References
    ----------
    .. [1] G. J. Martyna, D. J. Tobias, M. L. Klein, J. Chem. Phys. 101, 4177 (1994),
       doi 10.1063/1.467468.
    """
    half = 0.5 * motion.timestep
    energy = cell.load_energy(moving.state, target)
    moving = _rates_kicked(moving, cell, last.stress, target, half)
    momenta = motion.kicked(moving.state, last.forces)
    moving, _ = _strained(moving.with_momenta(momenta), cell, half)
    masses = moving.state.masses[:, None]
    drift = half * moving.state.momenta / masses
    moving = in_the_middle(moving)
    drift = drift + half * moving.state.momenta / masses
    moving, grown = _strained(moving, cell, half)
    positions = moving.state.configuration.positions + drift @ grown
    state, prediction = motion.arrive(moving.state, positions, potential)
    moving = _rates_kicked(
        moving.with_state(state), cell, prediction.stress, target, half
    )
    growth = cell.load_energy(state, target) - energy
    work = _cell_ledger(moving, prediction, motion.timestep)
    state = replace(
        moving.state,
        heat=moving.state.heat + growth,
        learning_work=moving.state.learning_work + work,
    )
    return moving.with_state(state), prediction


def _rates_kicked(
    moving: _Moving,
    cell: CellMotion,
    stress: FloatArray,
    target: Target,
    time: float,
) -> _Moving:
    """Return the rates of strain after a time under the pressure."""
    freedom, state = moving.freedom, moving.state
    if not len(freedom.generators):
        return moving
    force = cell.pull(state, stress, target)
    force = force + 2.0 * state.kinetic_energy / moving.n_free * freedom.traces
    force = force + moving.kT * freedom.measure
    return moving.with_rates(moving.rates + time / moving.inertia * force)


def _strained(
    moving: _Moving, cell: CellMotion, time: float
) -> tuple[_Moving, FloatArray]:
    """Return the state after a time of strain, and what multiplies other vectors."""
    freedom = moving.freedom
    if not len(freedom.generators):
        return moving, cell.xp.eye(3)
    along = time * moving.rates
    state, grown = cell.deformed(moving.state, freedom.strain(along))
    damping = np.exp(-float(freedom.traces @ along) / moving.n_free)
    # The measure of cells is booked with the load: a force that has a potential.
    heat = state.heat - moving.kT * float(freedom.measure @ along)
    state = replace(state, momenta=damping * state.momenta, heat=heat)
    return moving.with_state(state), grown


def _cell_ledger(moving: _Moving, prediction: Prediction, timestep: float) -> float:
    """Return the work in eV that a change of model does on the cell.

    Notes
    -----
    As that on the atoms, with -V B_k : stress for the force and the rates of strain for
    the velocities.
    """
    change = prediction.change
    if change is None or change.stress_before is None or change.stress_after is None:
        return 0.0
    strange = prediction.stress - 0.5 * (change.stress_before + change.stress_after)
    volume = moving.state.configuration.volume
    force = -volume * moving.freedom.components(full_stress(strange))
    return timestep * float(moving.rates @ force)


def _begun(
    state: State,
    motion: Motion,
    cell: CellMotion,
    target: Target,
    inertia: Callable[[int, float], float],
) -> _Moving:
    """Return the state with rates of strain to start the step from.

    Raises
    ------
    InputError
        When the target is 0 K, or no atom can move.
    """
    kT = KB * target.temperature
    if kT <= 0.0:
        raise InputError(
            "a cell with inertia needs a temperature above 0 K "
            "(dynamics.stages.temperature_K)"
        )
    return _begun_at(kT, state, motion, cell, target, lambda n: inertia(n, kT))


def _begun_at(
    kT: float,
    state: State,
    motion: Motion,
    cell: CellMotion,
    target: Target,
    inertia: Callable[[int], float],
) -> _Moving:
    """Return the state to start the step from; kT is 0 where nothing is warmed."""
    n_free = thermal_degrees(state, fix_centre_of_mass=motion.fix_centre_of_mass)
    freedom = cell.freedom_under(target)
    k = len(freedom.generators)
    # A cell that is held, or was until now, is at rest.
    fresh = state.barostat.shape != (k,)
    rates = np.zeros(k) if fresh else state.barostat
    return _Moving(replace(state, barostat=rates), freedom, inertia(n_free), n_free, kT)


def _ended(begun: _Moving, moving: _Moving, cell: CellMotion) -> State:
    """Return the state with the gain of the cell in kinetic energy booked.

    The rates of a held cell keep their number, and are zero.
    """
    k = len(cell.freedom.generators)
    rates = moving.rates if len(moving.rates) == k else np.zeros(k)
    heat = moving.state.heat + moving.kinetic - begun.kinetic
    return replace(moving.state, barostat=rates, heat=heat)


@dataclass(frozen=True, kw_only=True, eq=False)
class LangevinParrinelloRahman:
    """Friction and noise on every atom and on a cell with inertia.

    Attributes
    ----------
    thermostat : of the atoms, with the time step
    cell : what may deform
    friction : of the strain, 1/internal time
    relaxation_time : tau in internal time, W = (Nf + 3) kT tau^2/3
    inertia : W in eV internal time^2; None for that of the relaxation time
    noise : the source of normal numbers

    Raises
    ------
    InputError
        When the friction is negative, or the relaxation time or the inertia is not
        positive.

    Notes
    -----
    The equations of Martyna, Tobias and Klein with friction and noise for the atoms and
    for the rates of strain [1]_, which in the full cell are the fictitious lattice of
    Parrinello and Rahman [2]_ without its rotations. As in BAOAB both Ornstein-
    Uhlenbeck parts stand in the middle of the step. What is sampled is
    V^N exp(-(U + P V)/kT) dV, and one power of V less where the centre of mass is held
    still.

    References
    ----------
    .. [1] D. Quigley, M. I. J. Probert, J. Chem. Phys. 120, 11432 (2004),
       doi 10.1063/1.1755657.
    .. [2] M. Parrinello, A. Rahman, J. Appl. Phys. 52, 7182 (1981),
       doi 10.1063/1.328693.
    """

    thermostat: Langevin
    cell: CellMotion
    friction: float
    relaxation_time: float
    inertia: float | None = None
    noise: Noise = normal

    def __post_init__(self) -> None:
        if not self.friction >= 0.0:
            raise InputError(
                f"the friction of the cell must not be negative, got {self.friction:g}"
            )
        if not self.relaxation_time > 0.0:
            raise InputError(
                "the relaxation time of the barostat must be positive, "
                f"got {self.relaxation_time:g}"
            )
        if self.inertia is not None and not self.inertia > 0.0:
            raise InputError(
                f"the mass of the cell must be positive, got {self.inertia:g}"
            )

    @property
    def motion(self) -> Motion:
        """Return the time step, what is held still and the guard."""
        return self.thermostat.motion

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Raises
        ------
        InputError
            When the target is 0 K.
        Untrusted
            As every sampler, and when the cell strains too much.
        """
        begun = _begun(state, self.motion, self.cell, target, self._inertia)

        def thermalised(moving: _Moving) -> _Moving:
            warmed = moving.with_state(
                self.thermostat.thermalised(moving.state, target)
            )
            return self._cell_thermalised(warmed)

        ended, prediction = _flow(
            begun, self.cell, self.motion, last, potential, target, thermalised
        )
        return _ended(begun, ended, self.cell), prediction

    def _inertia(self, n_free: int, kT: float) -> float:
        if self.inertia is not None:
            return self.inertia
        return inertia_of(self.relaxation_time, n_free, kT)

    def _cell_thermalised(self, moving: _Moving) -> _Moving:
        """Return the rates after the O part of a step, their heat booked."""
        state, k = moving.state, len(moving.rates)
        numbers = self.noise(state.seed, CELL_STREAMS + state.stream, state.step, k)
        exponent = self.friction * self.motion.timestep
        spread = np.sqrt(-np.expm1(-2.0 * exponent) * moving.kT / moving.inertia)
        warmed = moving.with_rates(np.exp(-exponent) * moving.rates + spread * numbers)
        heat = state.heat + moving.kinetic - warmed.kinetic
        return warmed.with_state(replace(warmed.state, heat=heat))


@dataclass(frozen=True, kw_only=True, eq=False)
class MartynaTobiasKlein:
    """A cell with inertia, and a Nose-Hoover chain each for the atoms and the cell.

    Attributes
    ----------
    motion : time step, constraints, guard
    cell : what may deform
    thermostat_time : tau of the chain of the atoms in internal time
    relaxation_time : tau of the cell and its chain; W = (Nf + 3) kT tau^2/3
    length : thermostats in each chain
    order : of the Suzuki-Yoshida splitting of the chains, 4 or 6

    Raises
    ------
    InputError
        When a time or the length is not positive, or the order is unknown.

    Notes
    -----
    Half a step of the chains, the step of the atoms and the cell [1]_, half a step of
    the chains. ``State.thermostat`` is (4, M): velocities and masses of the chain of
    the atoms, then of that of the cell. The heat holds the energies of chains, load and
    moving cell, so that K + U + heat is the conserved quantity. What is sampled is
    V^N exp(-(U + P V)/kT) dV, and one power of V less where the centre of mass is held
    still.

    References
    ----------
    .. [1] G. J. Martyna, M. E. Tuckerman, D. J. Tobias, M. L. Klein, Mol. Phys. 87,
       1117 (1996), doi 10.1080/00268979600100761.
    """

    motion: Motion
    cell: CellMotion
    thermostat_time: float
    relaxation_time: float
    length: int = 3
    order: int = 4

    def __post_init__(self) -> None:
        for value, name in (
            (self.thermostat_time, "thermostat"),
            (self.relaxation_time, "barostat"),
        ):
            if not value > 0.0:
                raise InputError(
                    f"the relaxation time of the {name} must be positive, got {value:g}"
                )
        require_chain(self.length, self.order)

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Raises
        ------
        InputError
            When the target is 0 K.
        Untrusted
            As every sampler, and when the cell strains too much.
        """
        begun = _begun(state, self.motion, self.cell, target, self._inertia)
        ended, prediction = _flow(
            self._chained(begun),
            self.cell,
            self.motion,
            last,
            potential,
            target,
            lambda moving: moving,
        )
        ended = self._chained(ended)
        return _ended(begun, ended, self.cell), prediction

    def _inertia(self, n_free: int, kT: float) -> float:
        return inertia_of(self.relaxation_time, n_free, kT)

    def _chained(self, moving: _Moving) -> _Moving:
        """Return the state after half a time step of both chains."""
        state, k = moving.state, len(moving.rates)
        fresh = state.thermostat.shape != (4, self.length)
        chains = np.zeros((4, self.length)) if fresh else state.thermostat.copy()
        half = 0.5 * self.motion.timestep
        heat, scales = state.heat, []
        for row, (kinetic, degrees, time) in enumerate(
            (
                (state.kinetic_energy, moving.n_free, self.thermostat_time),
                (moving.kinetic, k, self.relaxation_time),
            )
        ):
            links = np.full(self.length, moving.kT)
            links[0] *= max(degrees, 1)
            masses = links * time**2
            if degrees == 0:  # a cell that is held has nothing to warm
                chains[2 * row : 2 * row + 2] = np.zeros(self.length), masses
                scales.append(1.0)
                continue
            try:
                scale, velocities, taken = chain_step(
                    kinetic, chains[2 * row], masses, links, half, self.order
                )
            except OverflowError:
                raise Untrusted(
                    state.configuration,
                    "the chain of thermostats exploded: lower the time step, or look "
                    "at the stress",
                ) from None
            chains[2 * row : 2 * row + 2] = velocities, masses
            heat += taken
            scales.append(scale)
        state = replace(
            state,
            momenta=scales[0] * state.momenta,
            barostat=scales[1] * state.barostat,
            thermostat=chains,
            heat=heat,
        )
        return moving.with_state(state)


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantEnthalpy:
    """A cell with inertia and no thermostat.

    Attributes
    ----------
    motion : time step, constraints, guard
    cell : what may deform
    relaxation_time : tau in internal time
    temperature : K, about that of the atoms; W = (Nf + 3) kT tau^2/3 is of it

    Raises
    ------
    InputError
        When the relaxation time or the temperature is not positive.

    Notes
    -----
    The step of the atoms and the cell of Martyna, Tobias and Klein without their chains
    [1]_: K + U + load + W tr(nu nu^T)/2 is constant, the enthalpy but for the kinetic
    energy of the cell, kT/2 of each direction. The force kT c_k of the measure of cells
    belongs to a temperature that is set, and is left out.

    References
    ----------
    .. [1] G. J. Martyna, D. J. Tobias, M. L. Klein, J. Chem. Phys. 101, 4177 (1994),
       doi 10.1063/1.467468.
    """

    motion: Motion
    cell: CellMotion
    relaxation_time: float
    temperature: float

    def __post_init__(self) -> None:
        if not self.relaxation_time > 0.0:
            raise InputError(
                "the relaxation time of the barostat must be positive, "
                f"got {self.relaxation_time:g}"
            )
        if not self.temperature > 0.0:
            raise InputError(
                "the inertia of a cell needs a temperature above 0 K, "
                f"got {self.temperature:g} K"
            )

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step; the temperature of the target is not looked at.

        Raises
        ------
        Untrusted
            As every sampler, and when the cell strains too much.
        """
        begun = _begun_at(0.0, state, self.motion, self.cell, target, self._inertia)
        ended, prediction = _flow(
            begun,
            self.cell,
            self.motion,
            last,
            potential,
            target,
            lambda moving: moving,
        )
        return _ended(begun, ended, self.cell), prediction

    def _inertia(self, n_free: int) -> float:
        return inertia_of(self.relaxation_time, n_free, KB * self.temperature)
