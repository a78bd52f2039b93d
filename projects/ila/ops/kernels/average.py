"""Kernels for averages weighted by masks; sums are in float32."""
import triton
import triton.language as tl


@triton.jit
def pool(patches, masks, out, frames, area, channels, frame_stride,
         patch_stride, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Average a frame, weighted by its mask in each of its two pairs."""
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    time = frame % frames
    pair = frame - frame // frames
    earlier = tl.zeros((ROWS, CHANNELS), tl.float32)
    later = tl.zeros((ROWS, CHANNELS), tl.float32)
    for first in range(0, area, ROWS):
        position = first + tl.arange(0, ROWS)
        inside = position < area
        value = tl.load(
            patches + frame * frame_stride + position[:, None] * patch_stride +
            channel[None, :],
            mask=inside[:, None] & known[None, :],
            other=0.).to(tl.float32)
        mask = masks + pair * 2 * area + position
        one = tl.load(mask, mask=inside & (time < frames - 1), other=0.)
        two = tl.load(mask - area, mask=inside & (time > 0), other=0.)
        earlier += one.to(tl.float32)[:, None] * value
        later += two.to(tl.float32)[:, None] * value
    place = out + pair * 2 * channels + channel
    tl.store(
        place, tl.sum(earlier, 0) / area, mask=known & (time < frames - 1))
    tl.store(
        place - channels, tl.sum(later, 0) / area, mask=known & (time > 0))


@triton.jit
def pool_patch_gradient(masks, gradient, out, frames, area, channels,
                        ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Compute the gradient of :func:`pool` for a frame's patches."""
    frame = tl.program_id(0).to(tl.int64)
    position = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside, known = position < area, channel < channels
    time = frame % frames
    pair = frame - frame // frames
    mask = masks + pair * 2 * area + position
    place = gradient + pair * 2 * channels + channel
    first, second = time < frames - 1, time > 0
    total = tl.load(
        mask, mask=inside & first, other=0.).to(tl.float32)[:, None] * tl.load(
            place, mask=known & first, other=0.).to(tl.float32)[None, :]
    total += tl.load(
        mask - area, mask=inside & second, other=0.).to(
            tl.float32)[:, None] * tl.load(
                place - channels, mask=known & second, other=0.).to(
                    tl.float32)[None, :]
    tl.store(
        out + frame * area * channels + position[:, None] * channels +
        channel[None, :],
        total / area,
        mask=inside[:, None] & known[None, :])


@triton.jit
def pool_mask_gradient(patches, gradient, out, frames, area, channels,
                       frame_stride, patch_stride, ROWS: tl.constexpr,
                       CHANNELS: tl.constexpr):
    """Compute the gradient of :func:`pool` for a frame's masks."""
    frame = tl.program_id(0).to(tl.int64)
    position = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = position < area
    time = frame % frames
    pair = frame - frame // frames
    earlier = tl.zeros((ROWS, CHANNELS), tl.float32)
    later = tl.zeros((ROWS, CHANNELS), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        known = channel < channels
        value = tl.load(
            patches + frame * frame_stride + position[:, None] * patch_stride +
            channel[None, :],
            mask=inside[:, None] & known[None, :],
            other=0.).to(tl.float32)
        place = gradient + pair * 2 * channels + channel
        one = tl.load(place, mask=known & (time < frames - 1), other=0.)
        two = tl.load(place - channels, mask=known & (time > 0), other=0.)
        earlier += one.to(tl.float32)[None, :] * value
        later += two.to(tl.float32)[None, :] * value
    place = out + pair * 2 * area + position
    tl.store(
        place, tl.sum(earlier, 1) / area, mask=inside & (time < frames - 1))
    tl.store(place - area, tl.sum(later, 1) / area, mask=inside & (time > 0))


@triton.jit
def soft_weight(points, count, x, y, radius, slope, known):
    """Weight positions by their distance to the nearest of some points."""
    weight = x * 0.
    for number in range(0, count):
        place = points + number * 2
        px = tl.load(place, mask=known, other=0.)
        py = tl.load(place + 1, mask=known, other=0.)
        across = 1. - slope * (tl.abs(x - px) - radius)
        along = 1. - slope * (tl.abs(y - py) - radius)
        across = tl.minimum(tl.maximum(across, 0.), 1.)
        along = tl.minimum(tl.maximum(along, 0.), 1.)
        weight = tl.maximum(weight, across * along)
    return weight * known


@triton.jit
def token(patches, points, out, frames, height, width, channels, frame_stride,
          patch_stride, count, radius, slope, ROWS: tl.constexpr,
          CHANNELS: tl.constexpr):
    """Average a frame, weighted by its masks, and then over its pairs."""
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    time = frame % frames
    earlier, later = time < frames - 1, time > 0
    own = points + (frame - frame // frames) * 4 * count
    area = height * width
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    for first in range(0, area, ROWS):
        position = first + tl.arange(0, ROWS)
        inside = position < area
        # A single row or column is at 0.
        x = (position % width * 2 -
             (width - 1)).to(tl.float32) / tl.maximum(width - 1, 1)
        y = (position // width * 2 -
             (height - 1)).to(tl.float32) / tl.maximum(height - 1, 1)
        weight = soft_weight(own, count, x, y, radius, slope, earlier)
        weight += soft_weight(own - 2 * count, count, x, y, radius, slope,
                              later)
        total += weight[:, None] * tl.load(
            patches + frame * frame_stride + position[:, None] * patch_stride +
            channel[None, :],
            mask=inside[:, None] & known[None, :],
            other=0.).to(tl.float32)
    pairs = earlier.to(tl.int32) + later.to(tl.int32)
    tl.store(
        out + frame * channels + channel,
        tl.sum(total, 0) / (area * pairs),
        mask=known)
