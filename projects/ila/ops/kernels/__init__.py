"""Triton kernels for frames ``(B * T, H, W, C)`` and their pairs.

Frames may be views of tokens: ``frame_stride`` and ``patch_stride`` are the
strides of a frame and of a patch. ``f`` counts the frames of all videos. In
video ``b``, frame ``f`` is the earlier frame of pair ``f - b`` and the later
frame of pair ``f - b - 1``; the first and last frames are in one pair only.
The first half of a weight is for the earlier frame.
"""
