"""Operations of convolutions that torch's own counter takes for more than they are."""

import math

import torch


def backward_operations(grad_out, x, weight, *rest, out_shape=None):
    """Of a convolution's backward pass, from shapes: its forward pass once for each gradient.

    torch's own count takes the gradient of a grouped convolution's weight for that of a full one.
    """
    transposed, mask = rest[4], rest[7]
    return 2 * math.prod(x if transposed else grad_out) * math.prod(weight[1:]) * sum(mask[:2])


COUNTED = {torch.ops.aten.convolution_backward: backward_operations}
