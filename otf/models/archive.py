"""Models as named arrays: the full training state, and the production form.

The training state holds everything, so that learning goes on to the bit; environments
of stored frames are described again when first used. The production form is a fitted
posterior: references, weights and the factors of its deviations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import StoreError
from otf.models.baselines.archive import baseline_from_arrays, baseline_to_arrays
from otf.models.basis import Basis
from otf.models.bayesian_linear import BayesianLinear, Fitted, ModelOptions
from otf.models.composition import ElementEnergies
from otf.models.covariance import covariance_named
from otf.models.evidence import PrecisionBounds
from otf.models.gauge import Gauge, precision_of
from otf.models.interface import KINDS, FitReport, PerKind, RowNoise, RowWeights
from otf.models.kernel_ridge import KernelRidge
from otf.models.posterior import KernelPosterior
from otf.models.references import References
from otf.models.solvers import EvidenceMaximisation, LinearRidge
from otf.models.training import StoredFrame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from otf.configuration import FloatArray
    from otf.descriptors.interface import Descriptor
    from otf.models.baselines.archive import MakeCalculatorBaseline
    from otf.models.baselines.interface import Baseline
    from otf.models.covariance import Covariance
    from otf.models.rows import Allocate
    from otf.models.solvers import Solver
    from otf.potential import Arrays

    Store = dict[str, NDArray[np.generic]]

POWER_SPECTRUM = "power_spectrum"


# ------------------------------------------------------------------ production form


def posterior_to_arrays(posterior: KernelPosterior) -> Store:
    """Return the production form of a fitted model."""
    out: Store = {
        "weights": posterior.weights,
        "element_energies": posterior.elements.values,
        "element_span": posterior.elements.span,
        "prior_precision": np.array(posterior.gauge.prior_precision),
        "root": posterior.gauge.root,
        "coarse_root": posterior.coarse.root,
    }
    _put(out, "descriptor", _descriptor_to_arrays(posterior.descriptor))
    _put(out, "baseline", baseline_to_arrays(posterior.baseline))
    _put(out, "basis", _basis_to_arrays(posterior.gauge.basis))
    _put(out, "coarse_basis", _basis_to_arrays(posterior.coarse.basis))
    return out


def posterior_from_arrays(
    arrays: Arrays,
    *,
    descriptor: Descriptor | None = None,
    baseline: Baseline | None = None,
    calculators: MakeCalculatorBaseline | None = None,
) -> KernelPosterior:
    """Return the fitted model that ``posterior_to_arrays`` wrote.

    Parameters
    ----------
    arrays
        The production form.
    descriptor, baseline
        Needed only where they are none of this package.
    calculators
        Needed only where the baseline is, or has as a part, a calculator.

    Raises
    ------
    StoreError
        When the descriptor or baseline is not known and none is given.
    """
    descriptor = descriptor or _descriptor_from_arrays(_take(arrays, "descriptor"))
    s_w = float(arrays["prior_precision"])
    basis, coarse = (
        _basis_from_arrays(_take(arrays, name)) for name in ("basis", "coarse_basis")
    )
    return KernelPosterior(
        descriptor=descriptor,
        gauge=Gauge(basis, _floats(arrays["root"]), s_w),
        coarse=Gauge(
            coarse,
            _floats(arrays["coarse_root"]),
            s_w,
            precision_of(coarse, basis),
        ),
        weights=_floats(arrays["weights"]),
        elements=ElementEnergies(
            descriptor.species,
            _floats(arrays["element_energies"]),
            _floats(arrays["element_span"]),
        ),
        baseline=baseline
        or baseline_from_arrays(_take(arrays, "baseline"), calculators),
    )


# ------------------------------------------------------------------- training state


def model_to_arrays(model: BayesianLinear) -> Store:
    """Return everything another instance needs to go on alike.

    The rows are views of those of the model, good until it learns more.
    """
    out: Store = {}
    _put(out, "settings", _settings_to_arrays(model))
    _put(out, "descriptor", _descriptor_to_arrays(model.descriptor))
    _put(out, "baseline", baseline_to_arrays(model.baseline))
    _put(out, "covariance", _covariance_to_arrays(model.covariance))
    if model.basis is not None:
        _put(out, "basis", _basis_to_arrays(model.basis))
    if model.posterior is not None:
        _put(out, "posterior", posterior_to_arrays(model.posterior))
    if model.report is not None:
        _put(out, "report", _report_to_arrays(model.report))
    if model.pending is not None:
        _put(out, "pending/posterior", posterior_to_arrays(model.pending.posterior))
        _put(out, "pending/report", _report_to_arrays(model.pending.report))
    for kind, block in model.training.blocks.items():
        sums = {
            "labels": block.labels,
            "gram": block.gram,
            "projection": block.projection,
        }
        _put(out, f"training/{kind}", {k: np.array(v) for k, v in sums.items()})
        parts = {str(k): part for k, part in enumerate(block.parts())}
        _put(out, f"training/{kind}/rows", parts)
    out["training/n_frames"] = np.array(model.n_frames)
    for k, frame in enumerate(model.training.frames):
        _put(out, f"frames/{k}", frame.configuration.to_arrays())
        labels = {
            "energy": np.array(frame.labels.energy),
            "forces": frame.labels.forces,
            "stress": frame.labels.stress,
        }
        _put(out, f"frames/{k}/labels", labels)
        if frame.reference:
            out[f"frames/{k}/reference"] = np.array(frame.reference)
    return out


def model_from_arrays(
    arrays: Arrays,
    *,
    descriptor: Descriptor | None = None,
    baseline: Baseline | None = None,
    calculators: MakeCalculatorBaseline | None = None,
    allocate: Allocate | None = None,
) -> BayesianLinear:
    """Return the model that ``model_to_arrays`` wrote.

    Parameters
    ----------
    arrays
        The training state.
    descriptor, baseline
        Needed only where they are none of this package.
    calculators
        Needed only where the baseline is, or has as a part, a calculator.
    allocate
        Gives memory for the rows; the default is NumPy's.

    Raises
    ------
    StoreError
        When the descriptor or baseline is not known and none is given.
    """
    settings = _take(arrays, "settings")
    descriptor = descriptor or _descriptor_from_arrays(_take(arrays, "descriptor"))
    baseline = baseline or baseline_from_arrays(_take(arrays, "baseline"), calculators)
    model = BayesianLinear(
        descriptor,
        covariance=_covariance_from_arrays(_take(arrays, "covariance")),
        baseline=baseline,
        noise=RowNoise(*map(float, settings["noise"])),
        weights=RowWeights(*map(float, settings["weights"])),
        options=_options_from_arrays(settings),
        isolated_energies=_isolated_from_arrays(settings),
        solver=_solver_from_arrays(settings),
    )
    basis = _take(arrays, "basis")
    model.basis = _basis_from_arrays(basis) if basis else None
    posterior = _take(arrays, "posterior")
    if posterior:
        model.posterior = posterior_from_arrays(
            posterior, descriptor=descriptor, baseline=baseline
        )
    report = _take(arrays, "report")
    model.report = _report_from_arrays(report) if report else None
    pending = _take(arrays, "pending")
    if pending:
        model.pending = Fitted(
            posterior_from_arrays(
                _take(pending, "posterior"), descriptor=descriptor, baseline=baseline
            ),
            _report_from_arrays(_take(pending, "report")),
        )
    if allocate is not None:
        model.training.keep_rows_in(allocate)
    _restore_training(model, arrays)
    return model


def _restore_training(model: BayesianLinear, arrays: Arrays) -> None:
    for kind in KINDS:
        part = _take(arrays, f"training/{kind}")
        if "projection" not in part:
            raise StoreError(
                "the checkpoint was written by an earlier form of this program: begin "
                "a new run from its labels (learning.start_from)"
            )
        rows = _take(part, "rows")
        model.training.blocks[kind].restore(
            [np.asarray(rows[str(k)], np.float64) for k in range(len(rows))],
            _floats(part["labels"]),
            _floats(part["gram"]),
            _floats(part["projection"]),
        )
    for k in range(int(arrays["training/n_frames"])):
        frame = _take(arrays, f"frames/{k}")
        labels = Labels(
            float(frame["labels/energy"]),
            _floats(frame["labels/forces"]),
            _floats(frame["labels/stress"]),
        )
        configuration = Configuration.from_arrays(frame)
        reference = str(frame["reference"]) if "reference" in frame else ""
        model.training.frames.append(
            StoredFrame.of(configuration, labels, model.baseline, reference)
        )


# ------------------------------------------------------------------------ the parts


def _put(out: Store, prefix: str, arrays: Arrays) -> None:
    out |= {f"{prefix}/{name}": value for name, value in arrays.items()}


def _take(arrays: Arrays, prefix: str) -> Store:
    start = f"{prefix}/"
    return {k[len(start) :]: v for k, v in arrays.items() if k.startswith(start)}


def _floats(array: NDArray[np.generic]) -> FloatArray:
    return np.array(array, dtype=np.float64)


def _descriptor_to_arrays(descriptor: Descriptor) -> Store:
    name = POWER_SPECTRUM if isinstance(descriptor, PowerSpectrum) else "external"
    return {"name": np.array(name), **descriptor.to_arrays()}


def _descriptor_from_arrays(arrays: Store) -> Descriptor:
    name = str(arrays.pop("name"))
    if name != POWER_SPECTRUM:
        raise StoreError(
            f"the model was made with a descriptor this version does not know "
            f"({name}): load it with the program that wrote it"
        )
    return PowerSpectrum.from_arrays(arrays)


def _covariance_to_arrays(covariance: Covariance) -> Store:
    name, parameter = covariance.parameters
    return {"name": np.array(name), "parameter": np.array(parameter)}


def _covariance_from_arrays(arrays: Store) -> Covariance:
    return covariance_named(str(arrays["name"]), float(arrays["parameter"]))


def _basis_to_arrays(basis: Basis) -> Store:
    references = basis.references
    out: Store = {
        "directions": references.directions,
        "rho": references.rho,
        "species": references.species,
        "softening": np.array(references.softening),
        "jitter": np.array(basis.jitter),
        "factor": basis.factor,
    }
    _put(out, "covariance", _covariance_to_arrays(references.covariance))
    return out


def _basis_from_arrays(arrays: Store) -> Basis:
    references = References(
        _floats(arrays["directions"]),
        _floats(arrays["rho"]),
        np.array(arrays["species"], dtype=np.int64),
        _covariance_from_arrays(_take(arrays, "covariance")),
        float(arrays["softening"]),
    )
    return Basis(references, float(arrays["jitter"]), _floats(arrays["factor"]))


_OPTION_NUMBERS = (
    "selection_bound",
    "jitter",
    "cur_epsilon",
    "noise_floor_force",
    "noise_floor_energy",
)


def _settings_to_arrays(model: BayesianLinear) -> Store:
    options, noise = model.options, model.training.noise
    isolated = model.isolated_energies
    return {
        "prior": np.array(options.prior),
        **{name: np.array(getattr(options, name)) for name in _OPTION_NUMBERS},
        "max_references": np.array(options.max_references or 0),
        "screen_references": np.array(options.screen_references),
        "noise": np.array([noise.of(kind) for kind in KINDS]),
        "weights": np.array([model.weights.of(kind) for kind in KINDS]),
        "isolated": np.array(
            [] if isolated is None else sorted(isolated.items()), dtype=np.float64
        ).reshape(-1, 2),
        **_solver_to_arrays(model.solver),
    }


def _options_from_arrays(arrays: Store) -> ModelOptions:
    return ModelOptions(
        prior=str(arrays["prior"]),
        max_references=int(arrays["max_references"]) or None,
        screen_references=int(arrays["screen_references"]),
        **{name: float(arrays[name]) for name in _OPTION_NUMBERS},
    )


def _isolated_from_arrays(arrays: Store) -> Mapping[int, float] | None:
    pairs = _floats(arrays["isolated"])
    return {int(z): float(e) for z, e in pairs} if len(pairs) else None


def _solver_to_arrays(solver: Solver) -> Store:
    if isinstance(solver, EvidenceMaximisation):
        bounds = solver.bounds
        values = [
            bounds.noise_high,
            bounds.prior_low,
            bounds.prior_high,
            float(solver.free_after),
        ]
        return {"solver": np.array("evidence"), "solver_values": np.array(values)}
    if isinstance(solver, LinearRidge | KernelRidge):
        name = "linear_ridge" if isinstance(solver, LinearRidge) else "kernel_ridge"
        return {"solver": np.array(name), "solver_values": np.array([solver.ratio])}
    raise StoreError(f"a model solved by {type(solver).__name__} cannot be saved")


def _solver_from_arrays(arrays: Store) -> Solver:
    name, values = str(arrays["solver"]), _floats(arrays["solver_values"]).tolist()
    if name == "linear_ridge":
        return LinearRidge(values[0])
    if name == "kernel_ridge":
        return KernelRidge(values[0])
    return EvidenceMaximisation(PrecisionBounds(*values[:3]), int(values[3]))


_REPORT_NUMBERS = ("prior_precision", "noise_precision", "n_effective", "log_evidence")
_REPORT_COUNTS = ("iterations", "n_rows", "n_references", "n_frames")


def _report_to_arrays(report: FitReport) -> Store:
    names = (*_REPORT_NUMBERS, *_REPORT_COUNTS)
    return {
        **{name: np.array(getattr(report, name)) for name in names},
        "clamps": np.array(report.clamps, dtype=np.str_),
        "errors": np.array([report.errors.of(kind) for kind in KINDS]),
    }


def _report_from_arrays(arrays: Store) -> FitReport:
    prior, noise, effective, evidence = (float(arrays[n]) for n in _REPORT_NUMBERS)
    iterations, n_rows, n_references, n_frames = (
        int(arrays[n]) for n in _REPORT_COUNTS
    )
    return FitReport(
        prior_precision=prior,
        noise_precision=noise,
        n_effective=effective,
        log_evidence=evidence,
        iterations=iterations,
        clamps=tuple(str(line) for line in arrays["clamps"]),
        n_rows=n_rows,
        n_references=n_references,
        n_frames=n_frames,
        errors=PerKind(*map(float, arrays["errors"])),
    )
