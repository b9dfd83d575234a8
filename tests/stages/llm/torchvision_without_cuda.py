"""Lets the torchvision of the package index load beside a torch for the CPU.

Its operators in C++ are built for CUDA there and cannot be loaded; its Python part only fails because it describes two
of them that nobody has declared. vLLM needs that part to read pictures for Qwen2.5-VL, and none of the operators. So
the two are declared when torchvision is first imported. Stands in site-packages beside a `.pth` file that imports it.
"""

import sys
from importlib.abc import MetaPathFinder

_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
declared = []  # a library's operators end with it


class _Declare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(operator + _ARGUMENTS)
            declared.append(library)
        return


sys.meta_path.insert(0, _Declare())
