"""The C structures of a phase (``source/phases.hpp``), field by field."""

from __future__ import annotations

import ctypes

from ticketdiet.kernels.blocks import SIZE, ExtentStruct, ListsStruct, ViewStruct

POINTER = ctypes.c_void_p


class NormStruct(ctypes.Structure):
    """A BatchNorm: parameters, running statistics, the statistics that are applied, and scratch memory."""

    _fields_ = [
        *((name, POINTER) for name in ("weight", "bias", "running_mean", "running_var", "mean", "inverse")),
        *((name, POINTER) for name in ("moments", "sums")),
        *((name, ctypes.c_double) for name in ("epsilon", "momentum")),
        ("pieces", SIZE),
    ]


class ActivationStruct(ctypes.Structure):
    """How the input of a convolution comes about."""

    _fields_ = [
        *((name, ViewStruct) for name in ("data", "added", "kept")),
        *((name, POINTER) for name in ("norm", "added_norm")),
    ]


class ReceiverStruct(ctypes.Structure):
    """Where the gradient of an activation goes."""

    _fields_ = [
        *((name, ViewStruct) for name in ("out", "added", "first", "second")),
        *((name, POINTER) for name in ("first_norm", "second_norm")),
        ("cut", SIZE),
    ]


class BandStruct(ctypes.Structure):
    """Rows of a band."""

    _fields_ = [(f"{what}_{end}", SIZE) for what in ("out", "source", "own", "gradient") for end in ("first", "end")]


class ScratchStruct(ctypes.Structure):
    """Layout of a band in scratch memory."""

    _fields_ = [(name, SIZE) for name in ("channel", "row", "pad")]


class TapsStruct(ctypes.Structure):
    """A list of kept weights, and where their values come from."""

    _fields_ = [("lists", ListsStruct), ("index", POINTER), ("first_row", SIZE), ("first_column", SIZE)]


class ConvolutionStruct(ctypes.Structure):
    """A convolution under its mask, cut into bands."""

    _fields_ = [
        *((name, ExtentStruct) for name in ("source", "out")),
        ("bands", POINTER),
        *((name, SIZE) for name in ("num_bands", "stride_rows", "stride_columns")),
        *((name, ScratchStruct) for name in ("input", "gradient")),
        ("own_rows", SIZE),
        ("weights", POINTER),
        ("forward", TapsStruct),
        ("backward", POINTER),
        ("num_backward", SIZE),
    ]


class ForwardStruct(ctypes.Structure):
    """A phase of a forward pass."""

    _fields_ = [("convolution", POINTER), ("source", POINTER), ("out", ViewStruct), ("norm", POINTER)]


class BackwardStruct(ctypes.Structure):
    """A phase of a backward pass."""

    _fields_ = [
        *((name, POINTER) for name in ("convolution", "source")),
        *((name, ViewStruct) for name in ("pre", "gradient")),
        *((name, POINTER) for name in ("norm", "receiver", "partial", "weights", "norm_weight", "norm_bias")),
    ]
