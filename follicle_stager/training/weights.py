"""Write a network's weights as ONNX, and read them back, so that a shipped network can be trained further."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from follicle_stager.detection.network.layout import STEP
from follicle_stager.errors import UserError
from follicle_stager.files import replacing
from follicle_stager.training.architecture import Answer, Exported

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

# Ending of the names of weights that are stored in half precision.
_HALF = "_half"
# Arrays with fewer values than this stay in single precision.
_FEW = 64


def write_onnx(net: nn.Module, path: Path) -> None:
    """Write a network as ONNX; its weights keep their names and are stored in half precision."""
    free = {0: "batch", 2: "y", 3: "x"}
    half, quarter = {0: "batch", 1: "half_y", 2: "half_x"}, {0: "batch", 1: "quarter_y", 2: "quarter_x"}
    exported = Exported(net).to("cpu").eval()
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about itself
        torch.onnx.export(
            exported,
            (torch.zeros(1, 3, 8 * STEP, 8 * STEP),),
            str(temporary),
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,  # keeps names and normalisation layers
            do_constant_folding=False,
            input_names=["picture"],
            output_names=list(Answer._fields),
            dynamic_axes={
                "picture": free,
                "classes": free,
                "border": half,
                "centre": quarter,
                "rays": {0: "batch", 2: "quarter_y", 3: "quarter_x"},
                "texture": {0: "batch", 2: "sixteenth_y", 3: "sixteenth_x"},
            },
        )
        network = onnx.load(str(temporary))
        _halve(network)
        onnx.save(network, str(temporary))


def _halve(network: onnx.ModelProto) -> None:
    """Convert weights to half precision; a Cast node converts them back when the network is loaded."""
    casts = []
    for weight in network.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _FEW:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + _HALF))
        casts.append(onnx.helper.make_node("Cast", [name + _HALF], [name], to=onnx.TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        network.graph.node.insert(place, cast)


def read_onnx(net: nn.Module, path: Path) -> None:
    """Load weights from an ONNX file into a network of the same architecture.

    Raises
    ------
    UserError
        If the file is missing, is not ONNX, or holds another architecture.
    """
    try:
        network = onnx.load(str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path of the network to start from.") from None
    except Exception as error:  # protobuf raises many kinds
        raise UserError(f"{path}: this is not an ONNX network ({error}); give the ONNX file of a network.") from None
    values = {
        weight.name.removesuffix(_HALF).removeprefix("net."): torch.from_numpy(
            onnx.numpy_helper.to_array(weight).astype(np.float32)
        )
        for weight in network.graph.initializer
    }
    # The exporter writes equal weights only once.
    same = {n.output[0].removeprefix("net."): n.input[0] for n in network.graph.node if n.op_type == "Identity"}
    values |= {name: values[of] for name, alias in same.items() if (of := alias.removeprefix("net.")) in values}
    own = {name: value.shape for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    if any(name not in values or values[name].shape != shape for name, shape in own.items()):
        raise UserError(
            f"{path}: this network has another architecture than the recipe; change encoder and widths of the recipe."
        )
    net.load_state_dict({name: values[name] for name in own}, strict=False)
