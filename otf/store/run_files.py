"""The files of one running process, kept in step with each other.

The order of writing makes every moment safe: what a checkpoint counts on is on the disk
before the checkpoint has its name, and what came after it is cut off on a resume.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from otf.errors import StoreError
from otf.store.checkpoint import Checkpoint, Checkpoints
from otf.store.disk import explained, write_text
from otf.store.entries import Resume
from otf.store.frames import FrameLog
from otf.store.journal import Journal
from otf.store.lock import Lock
from otf.store.record_file import HEADER_SIZE
from otf.store.thermo import ThermoLog
from otf.store.trajectory import update_trajectory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.store.schema import RunFolder

logger = logging.getLogger(__name__)


class RunFiles:
    """Journal, frames, table and checkpoints of a run, open for writing.

    Attributes
    ----------
    folder : names of everything
    journal, frames, thermo : open for append

    Parameters
    ----------
    folder
        Made when missing. A folder with a run in it can only be resumed.

    Raises
    ------
    StoreError
        When another process runs there, or a file cannot be opened or is damaged.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        with explained(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(folder.lock)
        try:
            self.journal = Journal(folder.journal)
            self.frames = FrameLog(folder.frames)
            self.thermo = ThermoLog(folder.thermo)
            self._checkpoints = Checkpoints(folder)
        except BaseException:
            self._lock.release()
            raise

    @property
    def is_new(self) -> bool:
        """Return whether no run has written here yet."""
        return self.journal.size == HEADER_SIZE

    def save_input(self, text: str) -> None:
        """Keep a copy of the input file in the folder.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        write_text(self.folder.input, text)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint with all that lies before it, then the trajectory.

        ``checkpoint.sizes`` is filled in here.

        Raises
        ------
        StoreError
            When the disk is full or fails; what was saved before stands.
        """
        for log in self._logs:
            log.sync()
        sizes = {log.path.name: log.size for log in self._logs}
        self._checkpoints.save(replace(checkpoint, sizes=sizes))
        update_trajectory(self.folder.trajectory, self.folder.frames)

    def resume(
        self, versions: Mapping[str, str], *, turn: int | None = None
    ) -> Checkpoint | None:
        """Go back to the newest whole checkpoint and return it.

        Frames and table are cut back to it, and the journal takes back what it said
        after it, labels excepted. Without any checkpoint the run begins again, with the
        labels it has paid for, and None is returned.

        Parameters
        ----------
        versions
            Package -> version, for the journal.
        turn
            Go back to the checkpoint of this turn, of runs that are saved together.

        Raises
        ------
        StoreError
            When there are checkpoints but none is whole, or the disk fails.
        """
        checkpoint = self._checkpoints.load(turn=turn)
        sizes: Mapping[str, int] = {} if checkpoint is None else checkpoint.sizes
        for log in (self.frames, self.thermo):
            try:
                log.truncate(sizes.get(log.path.name, 0))
            except StoreError as error:  # rows are missing, the physics is not
                logger.warning("%s; the run goes on with a gap there", error)
        self.journal.write(
            Resume(
                step=0 if checkpoint is None else checkpoint.state.step,
                journal_size=sizes.get(self.journal.path.name, HEADER_SIZE),
                versions=dict(versions),
            )
        )
        update_trajectory(self.folder.trajectory, self.folder.frames)
        return checkpoint

    def close(self) -> None:
        """Close all files and free the folder."""
        for log in self._logs:
            log.close()
        self._lock.release()

    @property
    def _logs(self) -> tuple[Journal, FrameLog, ThermoLog]:
        return self.journal, self.frames, self.thermo

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def has_begun(folder: RunFolder) -> bool:
    """Return whether a run has written anything into its journal."""
    journal = folder.journal
    return journal.is_file() and journal.stat().st_size > HEADER_SIZE
