"""The engines, in one list: libraries that do the arithmetic of a network on some hardware.

They give the same follicles but for rounding. ``auto`` stands for the first automatic one in `ENGINES` that can run
here. For an engine on a GPU, this includes that its answers on a test picture are those of the reference,
``onnxruntime``. OpenVINO rounds to 16 bits on some processors, which changed a stage on a real picture
(docs/accuracy.md, docs/real-sections.md), so it has to be named. A run records an engine other than the reference.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from follicle_stager.errors import UserError, how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    #: From pictures, (1, 3, y, x) float32, to the outputs of the network, each valid until the next call.
    Runner = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]

#: The weights that come with the package.
SHIPPED = Path(__file__).resolve().parents[2] / "models"
#: The engine with which the weights were judged.
REFERENCE = "onnxruntime"
# Largest difference between answers that only rounding makes, as a share of the largest answer.
_ROUNDING = 0.01


class Engine(Protocol):
    """A way to run a network."""

    name: str
    needs: str
    """What it needs, for messages."""
    automatic: bool
    """Whether ``auto`` may choose it."""
    align_px: int
    """Sides of pictures are multiples of this where possible: some engines prepare anew for each size."""

    def can_run(self) -> bool:
        """Whether its library, and the hardware that it is for, are there."""

    def precision(self) -> str:
        """Type of its numbers, e.g. ``f32``."""

    def load(self, content: bytes, *, threads: int) -> tuple[Runner, int]:
        """Prepare a network, the content of an ONNX file; return it and its number of outputs."""


class OnnxRuntime:
    """ONNX Runtime on one of its execution providers."""

    align_px = 32

    def __init__(
        self, name: str, provider: str, needs: str, options: dict[str, str] | None = None, *, automatic: bool = True
    ) -> None:
        self.name, self.needs, self.automatic = name, needs, automatic
        self._provider, self._options = provider, options or {}

    def can_run(self) -> bool:
        """Whether the library is installed; for other hardware also whether it answers as the reference does."""
        if importlib.util.find_spec("onnxruntime") is None:
            return False
        return self.name == REFERENCE or self._agrees

    @functools.cached_property
    def _agrees(self) -> bool:
        import onnxruntime

        if self._provider not in onnxruntime.get_available_providers():
            return False
        picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)
        try:
            content = sorted(SHIPPED.glob("*.onnx"))[0].read_bytes()
            expected, _ = ENGINES[REFERENCE].load(content, threads=1)
            session = self._session(content, threads=1)
            if session.get_providers()[0] != self._provider:  # a package for GPUs, and no GPU
                return False
            answers = zip(session.run(None, {"picture": picture}), expected(picture), strict=True)
            return all(np.abs(own - other).max() <= _ROUNDING * np.abs(other).max() for own, other in answers)
        except Exception:  # drivers that are missing or too old have many errors
            return False

    def precision(self) -> str:
        """Return f32."""
        return "f32"

    def _session(self, content: bytes, *, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False  # windows differ in size, and a memory plan for each size would be kept
        if self.name != REFERENCE:
            options.log_severity_level = 4
        return onnxruntime.InferenceSession(content, options, providers=[(self._provider, self._options)])

    def load(self, content: bytes, *, threads: int) -> tuple[Runner, int]:
        """Prepare a network."""
        session = self._session(content, threads=threads)
        return lambda picture: session.run(None, {"picture": picture}), len(session.get_outputs())


class OpenVino:
    """OpenVINO on the processor; with 16-bit numbers (bfloat16) where the processor multiplies these natively."""

    name = "openvino"
    needs = f"OpenVINO: {how_to_install('openvino')}"
    automatic = False
    align_px = 128

    def can_run(self) -> bool:
        """Whether openvino is installed."""
        return importlib.util.find_spec("openvino") is not None

    def precision(self) -> str:
        """Return bf16 or f32."""
        return "bf16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"

    @functools.cached_property
    def _core(self) -> Any:
        import openvino

        return openvino.Core()

    def load(self, content: bytes, *, threads: int) -> tuple[Runner, int]:
        """Prepare a network; threads that run it at the same time each get their own memory."""
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self.precision(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the processes of a batch would be pinned to the same processors
        }
        compiled = self._core.compile_model(self._core.read_model(content), "CPU", options)
        own = threading.local()

        def run(picture: NDArray[Any]) -> Sequence[NDArray[Any]]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            answer = own.request.infer({"picture": picture}, share_inputs=True, share_outputs=True)
            return [answer[output] for output in compiled.outputs]

        return run, len(compiled.outputs)


#: By name, in the order in which ``auto`` tries them.
ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        # TF32 would round to 10 bits.
        OnnxRuntime(
            "cuda",
            "CUDAExecutionProvider",
            "an NVIDIA graphics card, and onnxruntime-gpu instead of onnxruntime",
            {"use_tf32": "0"},
        ),
        OnnxRuntime(
            "directml",
            "DmlExecutionProvider",
            "Windows, a graphics card, and onnxruntime-directml instead of onnxruntime",
        ),
        OnnxRuntime(REFERENCE, "CPUExecutionProvider", "onnxruntime: pip install onnxruntime"),
        OpenVino(),
        # Every package for macOS has it, and nobody has measured it yet.
        OnnxRuntime("coreml", "CoreMLExecutionProvider", "an Apple computer", automatic=False),
    )
}


def can_run() -> bool:
    """Whether any engine that ``auto`` may choose can run here."""
    return any(engine.can_run() for engine in ENGINES.values() if engine.automatic)


@functools.cache
def choose_engine(name: str) -> Engine:
    """Return the engine of this name, or that ``auto`` stands for here.

    Raises
    ------
    UserError
        If it cannot run.
    """
    if name == "auto":
        found = next((engine for engine in ENGINES.values() if engine.automatic and engine.can_run()), None)
        if found is None:
            raise UserError("No engine for the network is installed: pip install onnxruntime.")
        return found
    engine = ENGINES[name]
    if not engine.can_run():
        *others, last = ("auto", *(other.name for other in ENGINES.values() if other.can_run()))
        instead = f"{', '.join(others)} or {last}" if others else last
        raise UserError(
            f"network.engine is {name!r}, which cannot run here. It needs {engine.needs}. Or write {instead}."
        )
    return engine
