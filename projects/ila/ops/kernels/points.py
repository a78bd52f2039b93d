"""Kernel that predicts a pair's points; sums are in float32."""
import triton
import triton.language as tl


@triton.jit
def points(interaction, weight, bias, first_weight, first_bias, second_weight,
           second_bias, out, limit, height, width, channels, hidden, inner,
           outputs, output_stride, channel_stride, tap_stride,
           ROWS: tl.constexpr, CHANNELS: tl.constexpr, HIDDEN: tl.constexpr,
           INNER: tl.constexpr, OUTPUTS: tl.constexpr):
    """Pool, convolve, apply ReLU, pool, and predict the points of a pair."""
    pair = tl.program_id(0).to(tl.int64)
    high, wide = tl.minimum(height, 2), tl.minimum(width, 2)
    rows, columns = height // high, width // wide
    # Positions that the second pooling drops are not needed.
    last = rows // tl.minimum(rows, 2) * tl.minimum(rows, 2)
    used = columns // tl.minimum(columns, 2) * tl.minimum(columns, 2)
    start = interaction + pair * height * width * channels
    output = tl.arange(0, HIDDEN)
    feature = tl.zeros((HIDDEN, ), tl.float32)  # After ReLU.
    shift = tl.load(bias + output, mask=output < hidden, other=0.)
    kind = interaction.dtype.element_ty
    for first in range(0, last * used, ROWS):
        position = first + tl.arange(0, ROWS)
        inside = position < last * used
        row, column = position // used, position % used
        total = tl.zeros((ROWS, HIDDEN), tl.float32)
        for tap in range(9):
            y, x = row + tap // 3 - 1, column + tap % 3 - 1
            seen = (inside & (y >= 0) & (y < rows) & (x >= 0) & (x < columns))
            corner = start + (
                (y * high * width + x * wide) * channels)[:, None]
            for begin in range(0, channels, CHANNELS):
                channel = begin + tl.arange(0, CHANNELS)
                known = channel < channels
                loaded = seen[:, None] & known[None, :]
                place = corner + channel[None, :]
                down, right = (high - 1) * width * channels, (wide -
                                                              1) * channels
                value = tl.maximum(
                    tl.maximum(
                        tl.load(place, mask=loaded, other=0.),
                        tl.load(place + right, mask=loaded, other=0.)),
                    tl.maximum(
                        tl.load(place + down, mask=loaded, other=0.),
                        tl.load(place + down + right, mask=loaded, other=0.)))
                factor = tl.load(
                    weight + output[None, :] * output_stride +
                    tap * tap_stride + channel[:, None] * channel_stride,
                    mask=known[:, None] & (output < hidden)[None, :],
                    other=0.)
                total = tl.dot(value.to(kind), factor.to(kind), total)
        total = tl.where(inside[:, None], total + shift[None, :], 0.)
        feature = tl.maximum(feature, tl.max(total, 0))
    # Each layer has two groups, one for each frame.
    neuron = tl.arange(0, INNER)
    group = neuron // (inner // 2)
    own = (output[None, :] // (hidden // 2) == group[:, None]) & (
        neuron < inner)[:, None] & (output < hidden)[None, :]
    factor = tl.load(
        first_weight + neuron[:, None] * (hidden // 2) + output[None, :] %
        (hidden // 2),
        mask=own,
        other=0.).to(tl.float32)
    value = tl.sum(factor * feature[None, :], 1) + tl.load(
        first_bias + neuron, mask=neuron < inner, other=0.)
    value = tl.maximum(value, 0.)
    coordinate = tl.arange(0, OUTPUTS)
    own = (group[None, :] == coordinate[:, None] //
           (outputs // 2)) & (coordinate
                              < outputs)[:, None] & (neuron < inner)[None, :]
    factor = tl.load(
        second_weight + coordinate[:, None] * (inner // 2) + neuron[None, :] %
        (inner // 2),
        mask=own,
        other=0.).to(tl.float32)
    value = tl.sum(factor * value[None, :], 1) + tl.load(
        second_bias + coordinate, mask=coordinate < outputs, other=0.)
    value = 2. / (1. + tl.exp(-2. * value)) - 1.  # tanh
    tl.store(
        out + pair * outputs + coordinate,
        limit * value,
        mask=coordinate < outputs)
