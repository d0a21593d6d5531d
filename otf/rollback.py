"""The ring of recent states, and the way back from where nothing can be trusted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import RunStopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration, FloatArray
    from otf.potential import Arrays
    from otf.state import State


@dataclass(frozen=True, eq=False)
class Memory:
    """A state the run may go back to.

    Attributes
    ----------
    state : of the sampler
    energy : eV, of the model at that state
    trusted : whether e was known and not above t
    thermo_size : bytes of the table then
    """

    state: State
    energy: float
    trusted: bool
    thermo_size: int


class Ring:
    """The last states, one in every ``interval`` steps.

    Parameters
    ----------
    length
        States kept.
    interval
        Steps between two of them.
    """

    limit = 5  # roll-backs
    within = 1000  # steps

    def __init__(self, length: int = 100, interval: int = 10) -> None:
        self.interval = interval
        self._memories: deque[Memory] = deque(maxlen=length)
        self._rollbacks: list[int] = []  # steps they happened at
        self._streams = 0

    def remember(self, memory: Memory) -> None:
        """Keep a state."""
        self._memories.append(memory)

    def go_back(self, reason: str, *, step: int) -> tuple[Memory, list[Configuration]]:
        """Forget all after the newest trusted state.

        Returns
        -------
        memory : with a new noise stream
        later : configurations of the states that were forgotten, oldest first

        Raises
        ------
        RunStopped
            When there is no trusted state, or the run went back too often.
        """
        self._rollbacks = [s for s in self._rollbacks if s > step - self.within]
        self._rollbacks.append(step)
        if len(self._rollbacks) >= self.limit:
            raise RunStopped(
                f"step {step}: {self.limit} roll-backs within {self.within} steps, the "
                f"last because {reason}: shorten dynamics.timestep_fs, lower the "
                "temperature, or look at the reference"
            )
        later: list[Configuration] = []
        while self._memories and not self._memories[-1].trusted:
            later.append(self._memories.pop().state.configuration)
        if not self._memories:
            raise RunStopped(
                f"step {step}: {reason}, and there is no trusted state to go back to"
            )
        self._streams += 1
        memory = self._memories[-1]
        state = replace(memory.state, stream=memory.state.stream + self._streams)
        return replace(memory, state=state), later[::-1]

    def state(self) -> Arrays:
        """Return all states as named arrays."""
        out: dict[str, np.ndarray] = {
            "rollbacks": np.array(self._rollbacks, dtype=np.int64),
            "streams": np.array(self._streams),
            "number": np.array(len(self._memories)),
        }
        if not self._memories:
            return out
        states = [m.state for m in self._memories]
        columns = {
            "positions": [s.configuration.positions for s in states],
            "momenta": [s.momenta for s in states],
            "cell": [s.configuration.cell for s in states],
            "thermostat": [s.thermostat for s in states],
            "barostat": [s.barostat for s in states],
            "integers": [(s.step, s.stream) for s in states],
            "numbers": [(s.time, s.heat, s.learning_work) for s in states],
            "energy": [m.energy for m in self._memories],
            "trusted": [m.trusted for m in self._memories],
            "thermo_size": [m.thermo_size for m in self._memories],
        }
        return out | {name: np.array(values) for name, values in columns.items()}

    def restore(self, arrays: Mapping[str, FloatArray], like: State) -> None:
        """Take up the states of another instance; ``like`` has what is constant."""
        self._rollbacks = [int(s) for s in arrays["rollbacks"]]
        self._streams = int(arrays["streams"])
        self._memories.clear()
        for k in range(int(arrays["number"])):
            step, stream = (int(x) for x in arrays["integers"][k])
            time, heat, work = (float(x) for x in arrays["numbers"][k])
            # Checkpoints from before cells could move have neither.
            cell = arrays["cell"][k] if "cell" in arrays else like.configuration.cell
            rates = arrays["barostat"][k] if "barostat" in arrays else like.barostat
            state = replace(
                like,
                configuration=replace(
                    like.configuration,
                    positions=arrays["positions"][k].copy(),
                    cell=cell.copy(),
                ),
                momenta=arrays["momenta"][k].copy(),
                thermostat=arrays["thermostat"][k].copy(),
                barostat=rates.copy(),
                step=step,
                stream=stream,
                time=time,
                heat=heat,
                learning_work=work,
            )
            self._memories.append(
                Memory(
                    state,
                    float(arrays["energy"][k]),
                    bool(arrays["trusted"][k]),
                    int(arrays["thermo_size"][k]),
                )
            )
