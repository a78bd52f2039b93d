"""Kernels for the depthwise convolution; sums are in float32."""
import triton
import triton.language as tl


@triton.jit
def load_row(image, row, column, channel, known, height, width, stride):
    """Load patches of a row, zeros beyond the borders."""
    inside = (row < height) & (column >= 0) & (column < width)
    return tl.load(
        image + (row * width + column)[:, None] * stride + channel[None, :],
        mask=inside[:, None] & known[None, :],
        other=0.).to(tl.float32)


@triton.jit
def load_neighbours(image, row, column, channel, known, height, width, stride):
    """Load a row's patches, with their left and right neighbours."""
    left = load_row(image, row, column - 1, channel, known, height, width,
                    stride)
    middle = load_row(image, row, column, channel, known, height, width,
                      stride)
    right = load_row(image, row, column + 1, channel, known, height, width,
                     stride)
    return left, middle, right


@triton.jit
def load_taps(weight, known):
    """Load the nine weights of each channel, row by row."""
    return (tl.load(weight, mask=known, other=0.)[None, :],
            tl.load(weight + 1, mask=known, other=0.)[None, :],
            tl.load(weight + 2, mask=known, other=0.)[None, :],
            tl.load(weight + 3, mask=known, other=0.)[None, :],
            tl.load(weight + 4, mask=known, other=0.)[None, :],
            tl.load(weight + 5, mask=known, other=0.)[None, :],
            tl.load(weight + 6, mask=known, other=0.)[None, :],
            tl.load(weight + 7, mask=known, other=0.)[None, :],
            tl.load(weight + 8, mask=known, other=0.)[None, :])


@triton.jit
def depthwise(patches, weight, bias, out, frames, height, width, channels,
              frame_stride, patch_stride, RELU: tl.constexpr,
              WIDTH: tl.constexpr, CHANNELS: tl.constexpr):
    """Convolve a frame for both of its pairs, row by row.

    Each row of patches is read once, for the three output rows that need it.
    """
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    column = tl.arange(0, WIDTH)
    time = frame % frames
    pair = frame - frame // frames  # This frame is the earlier one in it.
    image = patches + frame * frame_stride
    area = height * width
    place = (
        out + pair * area * 2 * channels + column[:, None] * 2 * channels +
        channel[None, :])
    stored = (column < width)[:, None] & known[None, :]
    weight += channel * 9
    (a0, a1, a2, a3, a4, a5, a6, a7, a8) = load_taps(weight, known)
    (b0, b1, b2, b3, b4, b5, b6, b7, b8) = load_taps(weight + channels * 9,
                                                     known)
    zero = tl.zeros((WIDTH, CHANNELS), tl.float32)
    bias += channel
    a_start = zero + tl.load(bias, mask=known, other=0.)[None, :]
    b_start = zero + tl.load(bias + channels, mask=known, other=0.)[None, :]
    # Sums of the output row above the row being read, and of that row.
    a_above, a_here = zero, a_start
    b_above, b_here = zero, b_start
    for row in range(0, height + 1):
        left, middle, right = load_neighbours(image, row, column, channel,
                                              known, height, width,
                                              patch_stride)
        a_above += left * a6 + middle * a7 + right * a8
        b_above += left * b6 + middle * b7 + right * b8
        if RELU:
            a_above = tl.maximum(a_above, 0.)
            b_above = tl.maximum(b_above, 0.)
        line = place + (row - 1) * width * 2 * channels
        tl.store(line, a_above, mask=stored & (row > 0) & (time < frames - 1))
        tl.store(
            line + channels - area * 2 * channels,
            b_above,
            mask=stored & (row > 0) & (time > 0))
        a_above = a_here + left * a3 + middle * a4 + right * a5
        b_above = b_here + left * b3 + middle * b4 + right * b5
        a_here = a_start + left * a0 + middle * a1 + right * a2
        b_here = b_start + left * b0 + middle * b1 + right * b2


@triton.jit
def depthwise_input_gradient(gradient, weight, out, frames, height, width,
                             channels, WIDTH: tl.constexpr,
                             CHANNELS: tl.constexpr):
    """Sum a frame's gradient over both of its pairs, row by row."""
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    column = tl.arange(0, WIDTH)
    time = frame % frames
    area, stride = height * width, 2 * channels
    a_image = gradient + (frame - frame // frames) * area * stride
    b_image = a_image + channels - area * stride
    a_known, b_known = known & (time < frames - 1), known & (time > 0)
    place = (
        out + frame * area * channels + column[:, None] * channels +
        channel[None, :])
    stored = (column < width)[:, None] & known[None, :]
    weight += channel * 9
    (a0, a1, a2, a3, a4, a5, a6, a7, a8) = load_taps(weight, known)
    (b0, b1, b2, b3, b4, b5, b6, b7, b8) = load_taps(weight + channels * 9,
                                                     known)
    above = tl.zeros((WIDTH, CHANNELS), tl.float32)
    here = tl.zeros((WIDTH, CHANNELS), tl.float32)
    for row in range(0, height + 1):
        # Outputs on the left used a patch as their right neighbour.
        right, middle, left = load_neighbours(a_image, row, column, channel,
                                              a_known, height, width, stride)
        above += left * a0 + middle * a1 + right * a2
        here += left * a3 + middle * a4 + right * a5
        below = left * a6 + middle * a7 + right * a8
        right, middle, left = load_neighbours(b_image, row, column, channel,
                                              b_known, height, width, stride)
        above += left * b0 + middle * b1 + right * b2
        here += left * b3 + middle * b4 + right * b5
        below += left * b6 + middle * b7 + right * b8
        tl.store(
            place + (row - 1) * width * channels,
            above,
            mask=stored & (row > 0))
        above, here = here, below


@triton.jit
def depthwise_weight_gradient(patches, gradient, out, count, frames, height,
                              width, channels, frame_stride, patch_stride,
                              WIDTH: tl.constexpr, CHANNELS: tl.constexpr):
    """Sum gradients of the weights over every ``parts``-th frame.

    The result is ``(parts, 2, 4, 4, C)``: earlier or later frame, then three
    rows of weights and a row whose first entry is the bias. The last of the 4
    columns is unused.
    """
    part, parts = tl.program_id(0), tl.num_programs(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    tap = tl.arange(0, 4)
    column = tl.arange(0, WIDTH)
    moved = column[None, :] + tap[:, None] - 1
    seen = (moved >= 0) & (moved < width)
    seen = seen[:, :, None] & known[None, None, :]
    moved = moved[:, :, None] * patch_stride + channel[None, None, :]
    area, stride = height * width, 2 * channels
    zero = tl.zeros((4, WIDTH, CHANNELS), tl.float32)
    first, second, third = zero, zero, zero
    other_first, other_second, other_third = zero, zero, zero
    total = tl.zeros((WIDTH, CHANNELS), tl.float32)
    other_total = tl.zeros((WIDTH, CHANNELS), tl.float32)
    for number in range(part, count, parts):
        frame = tl.cast(number, tl.int64)
        time = frame % frames
        image = patches + frame * frame_stride
        half = gradient + (frame - frame // frames) * area * stride
        above = zero
        here = tl.load(image + moved, mask=seen, other=0.).to(tl.float32)
        for row in range(0, height):
            below = tl.load(
                image + (row + 1) * width * patch_stride + moved,
                mask=seen & (row + 1 < height),
                other=0.).to(tl.float32)
            given = load_row(half, row, column, channel,
                             known & (time < frames - 1), height, width,
                             stride)
            total += given
            given = given[None, :, :]
            first += above * given
            second += here * given
            third += below * given
            given = load_row(half + channels - area * stride, row, column,
                             channel, known & (time > 0), height, width,
                             stride)
            other_total += given
            given = given[None, :, :]
            other_first += above * given
            other_second += here * given
            other_third += below * given
            above, here = here, below
    out += part * 32 * channels + channel
    place = out[None, :] + tap[:, None] * channels
    stored = (tap < 4)[:, None] & known[None, :]
    size = 4 * channels
    tl.store(place, tl.sum(first, 1), mask=stored)
    tl.store(place + size, tl.sum(second, 1), mask=stored)
    tl.store(place + 2 * size, tl.sum(third, 1), mask=stored)
    tl.store(out + 3 * size, tl.sum(total, 0), mask=known)
    tl.store(place + 4 * size, tl.sum(other_first, 1), mask=stored)
    tl.store(place + 5 * size, tl.sum(other_second, 1), mask=stored)
    tl.store(place + 6 * size, tl.sum(other_third, 1), mask=stored)
    tl.store(out + 7 * size, tl.sum(other_total, 0), mask=known)
